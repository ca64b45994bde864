"""RabbitMQ: which node is meant, and how it is told what to do."""

import re
import shlex

from s3discovery.settings import durations
from s3discovery.settings.keys.key import Key
from s3discovery.settings.kinds import WrongTextError
from s3discovery.settings.vectors import Vector, commands_with

_NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}(?:@[A-Za-z0-9][A-Za-z0-9_.-]{0,252})?", re.ASCII)
_read_commands = commands_with((), ())


def read_ctl(text: str) -> Vector:
    """Read how rabbitmqctl is called: one program with arguments."""
    commands = _read_commands(text)
    if len(commands) != 1:
        raise WrongTextError("write one command, such as rabbitmqctl or sudo -u rabbitmq rabbitmqctl")
    return commands[0]


def read_node_name(text: str) -> str:
    """Read the name of an Erlang node, with or without its host."""
    if _NODE.fullmatch(text) is None:
        raise WrongTextError("write name@host of letters, digits, _ and -, such as rabbit@mq-1")
    return text


RABBITMQ: tuple[Key, ...] = (
    Key(
        "rabbitmq-node-name",
        "rabbitmq_node_name",
        read_node_name,
        "Name of the RabbitMQ node, name@host, with broker:rabbitmq. If not set: RABBITMQ_NODENAME, "
        "rabbitmq-env.conf, or rabbit at this host.",
        "rabbit@mq-1",
    ),
    Key(
        "rabbitmq-ctl",
        "rabbitmq_ctl",
        read_ctl,
        "How rabbitmqctl is called: a program and its arguments, without a shell.",
        "sudo -u rabbitmq rabbitmqctl",
        default="rabbitmqctl",
        show=shlex.join,
    ),
    Key(
        "rabbitmq-ctl-timeout",
        "rabbitmq_ctl_timeout_s",
        durations.read_poll_interval,
        "How long one run of rabbitmqctl may take before it is killed.",
        "2m",
        default="60s",
        show=durations.show_duration,
    ),
)
