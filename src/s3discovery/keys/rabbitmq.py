"""RabbitMQ: which node is meant, and how it is told what to do."""

import shlex

from s3discovery import kinds
from s3discovery.keys.key import Key
from s3discovery.kinds import WrongTextError
from s3discovery.vectors import Vector, commands_with

_read_commands = commands_with((), ())


def read_ctl(text: str) -> Vector:
    """Read how rabbitmqctl is called: one program with arguments."""
    commands = _read_commands(text)
    if len(commands) != 1:
        raise WrongTextError("write one command, such as rabbitmqctl or sudo -u rabbitmq rabbitmqctl")
    return commands[0]


RABBITMQ: tuple[Key, ...] = (
    Key(
        "rabbitmq-node-name",
        "rabbitmq_node_name",
        kinds.read_printable,
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
        kinds.read_poll_interval,
        "How long one run of rabbitmqctl may take before it is killed.",
        "2m",
        default="60s",
        show=kinds.show_duration,
    ),
)
