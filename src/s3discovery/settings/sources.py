"""Where settings are written: a properties file, the environment, options.

An option wins over the environment, that over the file, that over the default (which `config.parse`
adds). Nothing is interpreted here; texts go on as they stand, with where they came from.
"""

import io
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

import javaproperties

from s3discovery.errors import Problem, SettingsError
from s3discovery.settings.config import BY_NAME, KEYS, Value, nearest_key
from s3discovery.settings.hivemq_4 import KEYS_4, expand
from s3discovery.settings.keys import HIVEMQ_4
from s3discovery.settings.kinds import WrongTextError

FILE_LIMIT_BYTES = 1024 * 1024  # a settings file is a few kilobytes; more is the wrong file
PREFIX = "S3DISCOVERY_"
OPTION = "option -o"  # the origin of what was given so
# Of HiveMQ 4's extension alone: the file that describes it, in its folder; its settings, in conf; one key.
_DESCRIPTOR_4 = "hivemq-extension.xml"
_FILE_4 = "config.properties"
_KEY_4 = "s3-endpoint-region"
_ABSENT = "not set"  # how the origin begins of what is taken for granted
# What Kubernetes and Docker put into the environment beside a service that is called s3discovery.
_SERVICE_VARIABLE = re.compile(r"S3DISCOVERY_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def load_properties(data: bytes) -> dict[str, str]:
    """Read `data` as java.util.Properties does: ISO 8859-1, escapes, continued lines; the last key wins.

    Raises SettingsError for a malformed \\u escape, with its line."""
    found: dict[str, str] = {}
    line = 1
    elements = javaproperties.parse(io.BytesIO(data))
    while True:
        try:
            element = next(elements, None)
        except javaproperties.InvalidUEscapeError as error:
            cure = "holds a malformed \\u: write \\u and four hexadecimal digits, or \\\\u for the text \\u"
            raise SettingsError([Problem(f"line {line}", None, cure)], "properties file") from error
        if element is None:
            return found
        line += len(re.findall(r"\r\n?|\n", element.source))
        if isinstance(element, javaproperties.KeyValue):
            found[element.key] = element.value


def read_properties(path: Path) -> dict[str, str]:
    """Read a properties file; raises SettingsError if it is missing, unreadable, malformed or over 1 MiB."""
    data = _read(path)
    if len(data) > FILE_LIMIT_BYTES:
        raise SettingsError(
            [Problem(repr(str(path)), None, f"is over {FILE_LIMIT_BYTES} bytes; name a settings file")]
        )
    try:
        return load_properties(data)
    except SettingsError as error:
        problems = [
            Problem(f"{str(path)!r}, {problem.key}", None, problem.cure) for problem in error.problems
        ]
        raise SettingsError(problems) from error


def _read(path: Path) -> bytes:
    """Return at most one byte more than is allowed."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise SettingsError([Problem(repr(str(path)), None, _cure_of_unreadable(error))]) from error


def _cure_of_unreadable(error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return "does not exist; create it, or name another"
        case IsADirectoryError():
            return "is a directory; name the file in it"
        case PermissionError():
            return "may not be read by this user; give it the right (chmod, chown)"
        case _:
            return f"cannot be read ({error}); name another"


def gather(*, file: Path | None, environ: Mapping[str, str], options: Sequence[str] = ()) -> dict[str, Value]:
    """Return every key that is set anywhere, unknown ones included, with its text and origin.

    A file for HiveMQ 4 is read as HiveMQ 4 reads it. `options` are texts `key=value`. Raises SettingsError
    if the file or an option cannot be read."""
    problems: list[Problem] = []
    in_file: dict[str, Value] = {}
    if file is not None:
        try:
            in_file = {name: Value(text, str(file)) for name, text in read_properties(file).items()}
        except SettingsError as error:
            problems.extend(error.problems)
    others = _from_environment(environ)
    for option in options:
        name, equals, text = option.partition("=")
        if equals and name.strip():
            others[name.strip()] = Value(text, OPTION)
        else:
            # Without its value: what was meant as one may be a secret.
            problems.append(Problem("-o", None, "write key=value, such as -o poll-interval=10s"))
    values = in_file | others
    sign = None if file is None else _sign_of_hivemq_4(file)
    if sign is not None:
        if "compatibility" not in values:
            in_file["compatibility"] = Value(HIVEMQ_4, sign)
        # The extension does without. Not if it is there, and written wrong: that would be another place.
        if not any(nearest_key(name) == "file-prefix" for name in values if name not in BY_NAME):
            in_file.setdefault("file-prefix", Value("", f"{_ABSENT}, with {sign}"))
    compatibility = (in_file | others).get("compatibility")
    if compatibility is not None and compatibility.text == HIVEMQ_4:
        problems.extend(_expand(in_file, skip=others))
    if problems:
        raise SettingsError(problems)
    return in_file | others


def _expand(values: dict[str, Value], skip: Container[str]) -> Iterator[Problem]:
    """Expand the variables in what a file says, as HiveMQ 4 does: by the file's own texts, and no others."""
    texts = {name: value.text for name, value in values.items()}
    secrets = {key.name for key in KEYS if key.secret}
    for name in sorted(KEYS_4.intersection(values)):
        if name in skip:
            continue
        origin = values[name].origin
        try:
            text, found = expand(texts[name], texts, hidden=() if name in secrets else secrets)
        except WrongTextError as error:
            yield Problem(name, None, f"{error} (set in {origin})")
        else:
            values[name] = Value(text, origin, found)


def _sign_of_hivemq_4(file: Path) -> str | None:
    """Return what tells that `file` is one of HiveMQ 4's extension; None if nothing does.

    Where it is named counts, as it does for HiveMQ, and where the file itself is that a link leads to."""
    named, real = Path(os.path.abspath(file)), Path(os.path.realpath(file))  # noqa: PTH100 - resolves no link
    for place in (named.parent, named.parent.parent, real.parent, real.parent.parent):
        if os.path.exists(place / _DESCRIPTOR_4):  # noqa: PTH110 - no error for what may not be looked at
            return str(place / _DESCRIPTOR_4)
    return f"the name {_FILE_4}" if _FILE_4 in (file.name, real.name) else None


def remarks(values: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    """Yield what is right by itself and may be meant otherwise, as (key, what and the cure)."""
    # A guess: HiveMQ 3's file and HiveMQ 4's have the same keys, but for one.
    if (
        "compatibility" not in values
        and _KEY_4 in values
        and any(_has_two_meanings(*item) for item in values.items())
    ):
        remark = (
            f"bare durations are read as minutes, but {_KEY_4} is a key of HiveMQ 4's extension, where they "
            "are seconds: write compatibility:hivemq-4, or compatibility:hivemq-3 if minutes are meant"
        )
        yield "compatibility", remark
    prefix = values.get("file-prefix")
    if prefix is not None and not prefix.text and (prefix.variables or prefix.origin.startswith(_ABSENT)):
        remark = (
            "is empty, so every object of the bucket is looked at: write file-prefix: and a folder, or "
            "file-prefix: alone if that is meant"
        )
        yield "file-prefix", remark
    named = {name for value in values.values() for name in value.variables}
    for name in sorted(named.difference(values)):
        yield name, "is a variable that is not in the file, so empty as HiveMQ 4 has it: write a line for it"


def _has_two_meanings(name: str, value: Value) -> bool:
    key = BY_NAME.get(name)
    if key is None or key.read_4 is None:
        return False
    try:
        return bool(key.read(value.text) != key.read_4(value.text))
    except WrongTextError:
        return False  # reported where it is read


def _from_environment(environ: Mapping[str, str]) -> dict[str, Value]:
    values = {}
    # An empty one is ignored: the name is too common for a leftover to move a node to another prefix.
    if prefix := environ.get("S3_FILE_PREFIX"):
        values["file-prefix"] = Value(prefix, "variable S3_FILE_PREFIX")
    for variable, text in environ.items():
        name = variable.removeprefix(PREFIX).lower().replace("_", "-")
        if not variable.startswith(PREFIX) or (name not in BY_NAME and _is_of_service(variable, text)):
            continue
        values[name] = Value(text, f"variable {variable}")
    return values


def _is_of_service(variable: str, text: str) -> bool:
    return _SERVICE_VARIABLE.fullmatch(variable) is not None or _SERVICE_ADDRESS.match(text) is not None
