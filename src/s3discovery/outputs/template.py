"""Templates of output files: Jinja2 in a sandbox, in which a mistake is an error with its line.

The sandbox limits what a template reaches, not how long it runs: see apart for those of users.

What a template is told of members is checked already (see presentation), so nothing needs escaping. A name
that does not exist, and a value that is no text or number, is refused instead of written.
"""

import json
import traceback
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3discovery.errors import BrokerError
from s3discovery.node import Address, Member
from s3discovery.presentation import Roster, Turnover, document, environment, make_roster, values
from s3discovery.settings.keys.command import BUILT_IN

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

OUTPUT_LIMIT_CHARS = 1024 * 1024
_SOURCE_LIMIT_BYTES = 256 * 1024
_FAULTS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
_FILENAME = "<template>"  # what Jinja calls a template without a file in tracebacks


class SandboxedTemplate:
    """A compiled template; `name` is what errors call it. Raises BrokerError if it is none."""

    def __init__(self, name: str, source: str) -> None:
        from jinja2 import TemplateError, TemplateSyntaxError  # extra `templates`

        self.name = name
        self._faults = (TemplateError, *_FAULTS)
        try:
            self._template = _sandbox().from_string(source)
        except TemplateSyntaxError as error:
            raise BrokerError(f"output-template {name!r}, line {error.lineno}: {error.message}") from error
        except _FAULTS as error:
            raise BrokerError(f"output-template {name!r}: {_why(error)}") from error

    def render(self, roster: Roster, variables: Mapping[str, str]) -> bytes:
        """Return the content of the file; raises BrokerError with the line that fails."""
        parts, length = [], 0
        try:
            for part in self._template.generate(**_context(roster, variables)):
                parts.append(part)
                length += len(part)
                if length > OUTPUT_LIMIT_CHARS:
                    raise BrokerError(
                        f"output-template {self.name!r} gives more than {OUTPUT_LIMIT_CHARS} characters"
                    )
            return "".join(parts).encode()
        except self._faults as error:
            place = f", line {line}" if (line := _line(error)) else ""
            raise BrokerError(f"output-template {self.name!r}{place}: {_why(error)}") from error

    def try_out(self, variables: Mapping[str, str]) -> None:
        """Render it for nodes that do not exist; raises BrokerError as `render` does."""
        for example in _examples():
            self.render(example, variables)


class OutputTemplate(SandboxedTemplate):
    """A template that was read and tried out: `name` is a built-in one or a path. Raises BrokerError."""

    def __init__(self, name: str, variables: Mapping[str, str]) -> None:
        super().__init__(name, read_source(name))
        self.try_out(variables)


def _context(roster: Roster, variables: Mapping[str, str]) -> dict[str, Any]:
    return {
        "own": roster.own,
        "peers": roster.peers,
        "members": roster.members,
        "hub": roster.hub,
        "is_hub": roster.hub == roster.own,
        "document": document(roster),
        "environment": environment(values(roster, Turnover())),
        "vars": dict(variables),
    }


def _sandbox() -> "ImmutableSandboxedEnvironment":
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    sandbox = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,  # no HTML; values are checked before they come here
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_plain,
    )
    # Jinja's own writes < and > as HTML wants them.
    sandbox.filters["tojson"] = lambda value, indent=None: json.dumps(value, indent=indent)
    return sandbox


def _plain(value: object) -> object:
    """Let texts and numbers pass; anything else was meant to be a part of it, or is missing."""
    from jinja2 import Undefined

    if isinstance(value, str | int | float | Undefined) and not isinstance(value, bool):
        return value
    raise ValueError(f"{type(value).__name__} is no text; name a part of it, such as member.host")


def read_source(name: str) -> str:
    """Return the text of a template, a built-in one or a file; raises BrokerError if it cannot be read."""
    try:
        if name in BUILT_IN:
            return (resources.files("s3discovery") / "templates" / f"{name}.j2").read_text(encoding="utf-8")
        with Path(name).open("rb") as file:
            content = file.read(_SOURCE_LIMIT_BYTES + 1)
        if len(content) > _SOURCE_LIMIT_BYTES:
            raise BrokerError(f"output-template {name!r} has more than {_SOURCE_LIMIT_BYTES} bytes")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BrokerError(f"output-template {name!r} cannot be read: {error}") from error


def _why(error: Exception) -> str:
    return "it needs too much memory" if isinstance(error, MemoryError) else str(error)


def _line(error: BaseException) -> int | None:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == _FILENAME]
    return lines[-1] if lines else None


def _examples() -> tuple[Roster, ...]:
    """Return rosters to try a template with: alone, as the hub of a star, and at its edge."""
    first, second, third = (
        Member("example-1", Address("192.0.2.1", 7800)),
        Member("example-2", Address("2001:db8::2", 7800)),
        Member("example-3", Address("node-3.example.com", 7800)),
    )
    return (
        make_roster(first, ()),
        make_roster(first, (second, third)),
        make_roster(third, (first, second)),
    )
