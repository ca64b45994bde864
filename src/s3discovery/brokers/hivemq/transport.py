"""The cluster in HiveMQ's config.xml: is it on, does it ask an extension, and where do peers dial this node.

Placeholders are replaced in the text before it is XML, as HiveMQ does. An address is checked when it is
asked for: what the settings say instead need not be right here.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from s3discovery.settings import hosts, kinds
from s3discovery.xml import NotXmlError, parse_xml

# Source: HiveMQ Community Edition, EnvVarUtil. ENV: is the newer spelling, and may be left out.
_ENV = re.compile(r"(?:ENV:)*")
_KINDS = ("tcp", "udp")
_BY_EXTENSION = ("extension", "plugin")  # HiveMQ 3 called its extensions plugins
_TRUE = ("true", "1")  # of XML Schema's boolean
_SHOWN_CHARS = 120

T = TypeVar("T")
Lookup = Callable[[str], str | None]


class WrongConfigError(ValueError):
    """A config.xml by which nobody finds this node; the message names the element and what to write."""


@dataclass(frozen=True, slots=True)
class Transport:
    """The cluster transport as written; None is "not set". `kind` is tcp or udp."""

    kind: str
    bind_address: str | None = None
    bind_port: str | None = None
    external_address: str | None = None
    external_port: str | None = None

    @property
    def host(self) -> str | None:
        """What peers dial: external-address, else bind-address; None if it is left to HiveMQ, or any.

        Raises WrongConfigError."""
        if self.external_address is not None:
            return self._read("external-address", self.external_address, hosts.read_dialled_host)
        if self.bind_address is None:
            return None
        bound = self._read("bind-address", self.bind_address, hosts.read_host)
        return None if hosts.is_wildcard(bound) else bound

    @property
    def port(self) -> int:
        """What peers dial: external-port unless it is 0, else bind-port. Raises WrongConfigError."""
        if self.external_port is not None:
            external = self._read("external-port", self.external_port, hosts.read_bind_port)
            if external:
                return external
        if self.bind_port is None:
            cure = "write the port that peers dial, such as <bind-port>7800</bind-port>"
            raise WrongConfigError(f"{self._place('bind-port')} is missing: {cure}")
        return self._read("bind-port", self.bind_port, hosts.read_port)

    def _read(self, name: str, text: str, read: Callable[[str], T]) -> T:
        where = f"{self._place(name)} is {text[:_SHOWN_CHARS]!r}"
        if next(_placeholders(text), None) is not None:
            raise WrongConfigError(
                f"{where}, and that variable is not set here: give s3discovery the variables that HiveMQ "
                f"has, or set external-{name.rpartition('-')[2]}"
            )
        try:
            return read(text)
        except kinds.WrongTextError as error:
            raise WrongConfigError(f"{where}: {error}") from error

    def _place(self, name: str) -> str:
        return f"<{name}> in hivemq/cluster/transport/{self.kind}"


def expand(text: str, lookup: Lookup) -> str:
    """Return `text` with its placeholders replaced; one that stands for nothing stays as it is."""
    parts, done = list[str](), 0
    for start, end, name in _placeholders(text):
        found = lookup(name)
        parts += (text[done:start], text[start:end] if found is None else found)
        done = end
    return "".join((*parts, text[done:]))


def _placeholders(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and name of each `${NAME}` and `${ENV:NAME}`, which end in the line they begin in.

    As the expression `[$][{](?:ENV:)*(.*?)}` finds them, but in linear time, whatever the text is."""
    start, close, line_end = text.find("${"), -1, -1
    while start >= 0:
        inner = start + 2
        if close < inner:
            close = text.find("}", inner)
            if close < 0:
                return
        if line_end < inner:
            line_end = text.find("\n", inner)
            line_end = len(text) if line_end < 0 else line_end
        if close > line_end:
            start = text.find("${", line_end)
            continue
        name = _ENV.match(text, inner, close)
        yield start, close + 1, text[inner if name is None else name.end() : close]
        start = text.find("${", close + 1)


def read_transport(data: bytes, lookup: Lookup) -> Transport:
    """Return the transport of a cluster that is on and asks an extension for its nodes.

    `lookup` gives what a placeholder stands for. Raises WrongConfigError."""
    text = expand(data.decode("utf-8", errors="replace"), lookup)
    try:
        root, space = parse_xml(text.encode("utf-8", errors="replace"))
    except NotXmlError as error:
        raise WrongConfigError(f"it is {error}") from error
    cluster = root.find(f"{space}cluster") if root.tag == f"{space}hivemq" else None
    if cluster is None:
        raise WrongConfigError(
            "it has no <cluster> in <hivemq>: write one with <enabled>true</enabled>, <transport> and "
            "<discovery>"
        )
    if (_text(cluster, f"{space}enabled") or "false").lower() not in _TRUE:
        raise WrongConfigError(
            "<enabled> in hivemq/cluster is not true: this HiveMQ forms no cluster; write "
            "<enabled>true</enabled>"
        )
    _check_discovery(cluster, space)
    return _read_transport(cluster, space)


def _check_discovery(cluster: ET.Element, space: str) -> None:
    """Raise WrongConfigError unless HiveMQ asks an extension who its peers are."""
    named = _children(cluster, space, "discovery")
    if len(named) == 1 and named[0] in _BY_EXTENSION:
        return
    found = f"names <{'>, <'.join(named)}>" if named else "names nothing"
    raise WrongConfigError(
        f"<discovery> in hivemq/cluster {found}: HiveMQ would not ask its DNS extension; write "
        "<discovery><extension/></discovery>"
    )


def _read_transport(cluster: ET.Element, space: str) -> Transport:
    named = _children(cluster, space, "transport")
    if len(named) != 1 or named[0] not in _KINDS:
        found = f"names <{'>, <'.join(named)}>" if named else "names nothing"
        raise WrongConfigError(
            f"<transport> in hivemq/cluster {found}: write one of <tcp> and <udp> there, with <bind-address> "
            "and <bind-port>"
        )
    kind = named[0]

    def written(name: str) -> str | None:
        return _text(cluster, f"{space}transport/{space}{kind}/{space}{name}")

    return Transport(
        kind,
        written("bind-address"),
        written("bind-port"),
        written("external-address"),
        written("external-port"),
    )


def _children(cluster: ET.Element, space: str, name: str) -> list[str]:
    parent = cluster.find(f"{space}{name}")
    return [] if parent is None else [child.tag.removeprefix(space) for child in parent]


def _text(parent: ET.Element, path: str) -> str | None:
    """Return the text of an element; None if there is no such element, or nothing in it."""
    return (parent.findtext(path) or "").strip() or None
