"""Where settings are written: a properties file, the environment, options.

An option wins over the environment, that over the file, that over the default (which `config.parse`
adds). Nothing is interpreted here; texts go on as they stand, with where they came from.
"""

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import javaproperties

from s3discovery.errors import Problem, SettingsError
from s3discovery.settings.config import BY_NAME, Value
from s3discovery.settings.kinds import WrongTextError

FILE_LIMIT_BYTES = 1024 * 1024  # a settings file is a few kilobytes; more is the wrong file
PREFIX = "S3DISCOVERY_"
# Of HiveMQ 4's extension alone: the file that describes it, in its folder; its settings, in conf; one key.
_DESCRIPTOR_4 = "hivemq-extension.xml"
_FILE_4 = "config.properties"
_KEY_4 = "s3-endpoint-region"
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

    `options` are texts `key=value`. Raises SettingsError if the file or an option cannot be read."""
    problems: list[Problem] = []
    values: dict[str, Value] = {}
    if file is not None:
        try:
            values |= {name: Value(text, str(file)) for name, text in read_properties(file).items()}
        except SettingsError as error:
            problems.extend(error.problems)
    values |= _from_environment(environ)
    for option in options:
        name, equals, text = option.partition("=")
        if equals and name.strip():
            values[name.strip()] = Value(text, "option -o")
        else:
            # Without its value: what was meant as one may be a secret.
            problems.append(Problem("-o", None, "write key=value, such as -o poll-interval=10s"))
    if problems:
        raise SettingsError(problems)
    return values


def sign_of_hivemq_4(file: Path | None, values: Mapping[str, Value]) -> str | None:
    """Return what tells that `file` is one of HiveMQ 4's extension while it is read in HiveMQ 3's units.

    None if nothing does, if `compatibility` says the unit, or if no duration depends on it. A guess: the two
    kinds of files have the same keys, but for one."""
    if (
        file is None
        or "compatibility" in values
        or not any(_has_two_meanings(*item) for item in values.items())
    ):
        return None
    folder = file.absolute().parent
    for place in (folder, folder.parent):
        if os.path.exists(place / _DESCRIPTOR_4):  # noqa: PTH110 - no error for what may not be looked at
            return str(place / _DESCRIPTOR_4)
    return _KEY_4 if _KEY_4 in values else file.name if file.name == _FILE_4 else None


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
