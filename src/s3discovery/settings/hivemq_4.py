"""What HiveMQ 4's extension makes of the texts in its file, where HiveMQ 3's plugin takes them as they stand.

Source: the extension's own classes, which read their settings through the library OWNER."""

import re
from collections.abc import Collection, Mapping

from s3discovery.settings.kinds import WrongTextError

# The only keys the extension has, and so those it expands.
KEYS_4 = frozenset(
    {
        "s3-bucket-name",
        "s3-bucket-region",
        "file-prefix",
        "file-expiration",
        "update-interval",
        "s3-endpoint",
        "s3-endpoint-region",
        "s3-path-style-access",
        "credentials-type",
        "credentials-access-key-id",
        "credentials-secret-access-key",
        "credentials-session-token",
    }
)
_VARIABLE = re.compile(r"\$\{([^\n\r\x85\u2028\u2029]+?)\}")
_LENGTH_LIMIT = 64 * 1024
_LONG = re.compile(r"([+-]?)(0[xX]|#|0(?=\d))?([0-9a-fA-F]{1,40})", re.ASCII)
_BASES = {"0x": 16, "#": 16, "0": 8, "": 10}


def expand(
    text: str, texts: Mapping[str, str], *, hidden: Collection[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """Return `text` with every `${name}` replaced by what `texts` has for it, that expanded as well.

    And the names that were met, in their order. An unknown name is replaced by nothing, as the extension
    does. Raises WrongTextError for a name that leads back to itself, for one of the `hidden`, and for a text
    that grows without end."""
    met = dict[str, None]()
    return _expand(text, texts, frozenset(hidden), (), met), tuple(met)


def _expand(
    text: str, texts: Mapping[str, str], hidden: frozenset[str], way: tuple[str, ...], met: dict[str, None]
) -> str:
    parts, end, length = list[str](), 0, 0
    for found in _VARIABLE.finditer(text):
        name = found.group(1)
        if name in way:
            raise WrongTextError(f"write the value itself; ${{{name}}} leads back to itself")
        if name in hidden:
            raise WrongTextError(f"write another variable than ${{{name}}}, which is a secret")
        met[name] = None
        inner = _expand(texts.get(name, ""), texts, hidden, (*way, name), met)
        parts += [text[end : found.start()], inner]
        length += len(inner)
        if length > _LENGTH_LIMIT:
            raise WrongTextError("write the value itself; its variables make it longer than 64 KiB")
        end = found.end()
    return "".join((*parts, text[end:]))


def decode_long(text: str) -> int | None:
    """Return the number that Java's Long.decode reads: hexadecimal behind 0x or #, octal behind 0.

    None if it is none, or has digits other than ASCII's."""
    if (match := _LONG.fullmatch(text)) is None:
        return None
    sign, mark, digits = match.groups()
    try:
        number = int(digits, _BASES[(mark or "").lower()])
    except ValueError:
        return None
    return -number if sign == "-" else number
