"""The name of an Erlang node: which texts can be one, and where this node's own is written.

RabbitMQ finds its name in the variable RABBITMQ_NODENAME, else in rabbitmq-env.conf, else it is `rabbit` at
the short name of the host. We look in the same places, in the same order.
"""

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from s3discovery.errors import BrokerError

DEFAULT_DISTRIBUTION_PORT: Final = 25672
_AWAY_FROM_CLIENTS: Final = 20000  # RabbitMQ: the distribution port is that of AMQP and this
_CONF: Final = "/etc/rabbitmq/rabbitmq-env.conf"
_EPMD_PORT: Final = 4369
_DEFAULT_NAME: Final = "rabbit"
# Stricter than Erlang, which takes nearly any character: these pass through rabbitmqctl, which on Debian
# is a shell script that hands its arguments to another shell.
_NODE: Final = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}@[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?)*",
    re.ASCII,
)
_LIMIT_CHARS: Final = 255  # of an Erlang atom
_ASSIGNMENT: Final = re.compile(r"\s*(?:export\s+)?(?:RABBITMQ_)?([A-Z_]+)=(.*)")
_PLAIN: Final = re.compile(r"""(?:'([^']*)'|"([^"$`\\]*)"|([^'"$`\\\s;&|<>()#]*))\s*(?:#.*)?""")


def is_node_name(text: str) -> bool:
    """Tell whether `text` is `name@host` with nothing in it that could mean something to a shell."""
    return len(text) <= _LIMIT_CHARS and _NODE.fullmatch(text) is not None


def host_of(node: str) -> str:
    """Return the host that `node` is on."""
    return node.partition("@")[2]


def is_long(node: str) -> bool:
    """Tell whether `node` has a long name: nodes with long and with short names never meet."""
    return "." in host_of(node)


class Variables:
    """What RabbitMQ's variables say here: the environment's, else those of rabbitmq-env.conf.

    That file is a shell script; only plain assignments are understood, and what is computed is not."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._conf: dict[str, str] = {}
        conf = environ.get("RABBITMQ_CONF_ENV_FILE") or _CONF
        try:
            text = Path(conf).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return  # RabbitMQ does without it as well
        for line in text.splitlines():
            assigned = _ASSIGNMENT.fullmatch(line)
            if assigned is not None and (plain := _PLAIN.fullmatch(assigned[2])) is not None:
                self._conf[assigned[1]] = next((text for text in plain.groups() if text is not None), "")

    def get(self, name: str) -> str | None:
        """Return the variable RABBITMQ_`name`, None if it is unset or empty."""
        return self._environ.get(f"RABBITMQ_{name}") or self._conf.get(name) or None

    def node_name(self, configured: str | None = None) -> str:
        """Return the full name of this node; raises BrokerError if it is none, or cannot be known."""
        name = configured or self.get("NODENAME") or _DEFAULT_NAME
        if "@" not in name:
            name = f"{name}@{self._own_host()}"
        if not is_node_name(name):
            raise BrokerError(
                f"{name!r} is no name of a RabbitMQ node that we take; write rabbitmq-node-name (or "
                f"RABBITMQ_NODENAME) as name@host of letters, digits, hyphens and dots"
            )
        if self._wants_long_names() and not is_long(name):
            raise BrokerError(
                f"RABBITMQ_USE_LONGNAME is set, and the host of {name!r} has no dot; write "
                "rabbitmq-node-name with the full name or the IP address of the host"
            )
        return name

    def distribution_port(self) -> int:
        """Return where other nodes and rabbitmqctl reach this one."""
        try:
            if (text := self.get("DIST_PORT")) is not None:
                return int(text)
            if (text := self.get("NODE_PORT")) is not None:
                return int(text) + _AWAY_FROM_CLIENTS
        except ValueError as error:
            raise BrokerError(f"{text!r} is no port; correct RABBITMQ_DIST_PORT or _NODE_PORT") from error
        return DEFAULT_DISTRIBUTION_PORT

    def epmd_port(self) -> int:
        """Return the port of epmd, here and on every other host."""
        text = self._environ.get("ERL_EPMD_PORT", "")
        return int(text) if text.isdecimal() else _EPMD_PORT

    def _wants_long_names(self) -> bool:
        return (self.get("USE_LONGNAME") or "").lower() in ("true", "1", "yes", "on")

    def _own_host(self) -> str:
        """Return the host's name as Erlang takes it."""
        return socket.getfqdn() if self._wants_long_names() else socket.gethostname().partition(".")[0]
