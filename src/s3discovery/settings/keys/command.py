"""What members become for other programs: commands that are run, files that are rendered."""

import re
import shlex
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from s3discovery.presentation import LISTS, SINGLE
from s3discovery.settings import durations, kinds
from s3discovery.settings.keys.key import Key
from s3discovery.settings.kinds import WrongTextError
from s3discovery.settings.vectors import commands_with, show_commands

CHILD = "child"
RESTART = "restart"
# A template of ours by its name; anything else is the path of one.
BUILT_IN = ("env", "haproxy", "hosts", "json", "mosquitto", "prometheus")
_JOIN = frozenset({"join_id", "join_host", "join_port", "join_address"})
_SIGNALS = frozenset({"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH"})
_VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)

Signal = tuple[str, str]  # what is sent, and to whom: a file with a process id, or the child
Variables = tuple[tuple[str, str], ...]

read_commands = commands_with(SINGLE, LISTS)


def read_signal(text: str) -> Signal:
    """Read `NAME:/path/of/pid-file`, `NAME:child` or `restart:child`."""
    name, colon, target = text.partition(":")
    name = name.removeprefix("SIG")
    if name == RESTART and target == CHILD:
        return RESTART, CHILD
    if name not in _SIGNALS or not colon or not (target == CHILD or target.startswith("/")):
        raise WrongTextError(
            f"write a signal ({', '.join(sorted(_SIGNALS))}) and to whom, as in HUP:/run/haproxy.pid or "
            "HUP:child, or write restart:child"
        )
    return name, kinds.read_path(target)


def signal_number(name: str) -> int:
    """Return the number of a signal that `read_signal` read."""
    return signal.Signals[f"SIG{name}"]


def read_template(text: str) -> str:
    """Read the name of a built-in template, or the path of one."""
    if text in BUILT_IN:
        return text
    if "/" not in text or text != text.strip():
        raise WrongTextError(f"write one of {', '.join(BUILT_IN)}, or a path with a / in it")
    return kinds.read_path(text)


def read_variables(text: str) -> Variables:
    """Read words `name=value`, quoted as in a shell."""
    try:
        pairs = [word.partition("=") for word in shlex.split(text)]
    except ValueError as error:
        raise WrongTextError(f"close what is quoted ({error})") from error
    found = {name: value for name, _, value in pairs}
    if len(found) < len(pairs) or not all(equals and _VARIABLE.fullmatch(name) for name, equals, _ in pairs):
        raise WrongTextError("write name=value, several with a space between, names in lower case, each once")
    return tuple(found.items())


COMMAND: tuple[Key, ...] = (
    Key(
        "command",
        "command",
        read_commands,
        "With broker:command, what is run whenever the members have changed: a program and its arguments, "
        "several with && between; no shell takes part. Placeholders such as {peer_hosts} and {own_host}; the "
        "same as variables S3DISCOVERY_PEER_HOSTS, and all members as JSON on standard input.",
        "/usr/local/bin/set-peers --own {own_address} {peers...}",
        show=show_commands,
    ),
    Key(
        "command-cluster",
        "command_cluster",
        read_commands,
        "Command that prints which nodes the broker's cluster has: one id a line, with a second word down "
        'for those that it cannot see; or JSON, ["n1", "n2"] or {"up": ["n1"], "down": ["n2"]}.',
        "/usr/local/bin/emqx-members",
        show=show_commands,
    ),
    Key(
        "command-join",
        "command_join",
        commands_with(SINGLE | _JOIN, LISTS),
        "Command by which a node that is in no cluster joins that of another, {join_id} at {join_host}: for "
        "brokers whose cluster lasts. Needs command-cluster.",
        "emqx ctl cluster join {join_id}",
        show=show_commands,
    ),
    Key(
        "command-forget",
        "command_forget",
        commands_with(SINGLE | {"forget_id"}, LISTS),
        "Command that removes the dead node {forget_id} from the broker's cluster, with forget-dead:true.",
        "emqx ctl cluster force-leave {forget_id}",
        show=show_commands,
    ),
    Key(
        "command-leave",
        "command_leave",
        read_commands,
        "Command that `s3discovery leave` runs to take this node out of its broker's cluster.",
        "emqx ctl cluster leave",
        show=show_commands,
    ),
    Key(
        "command-timeout",
        "command_timeout_s",
        durations.read_poll_interval,
        "How long a command may take before it is ended.",
        "2m",
        default="30s",
        show=durations.show_duration,
    ),
    Key(
        "output-file",
        "output_file",
        kinds.read_path,
        "File that is rendered from output-template whenever the members have changed, beside any broker.",
        "/etc/prometheus/mqtt.json",
    ),
    Key(
        "output-template",
        "output_template",
        read_template,
        f"What output-file is rendered from: {', '.join(BUILT_IN)}, or the path of a Jinja2 template.",
        "haproxy",
    ),
    Key(
        "output-variables",
        "output_variables",
        read_variables,
        "What else the template is told: words name=value, found there as vars.name.",
        "port=1883 domain=mqtt.internal",
        show=lambda pairs: shlex.join(f"{name}={value}" for name, value in pairs),
    ),
    Key(
        "output-block",
        "output_block",
        kinds.read_flag,
        "true renders only what is between two marking lines of output-file, and leaves the rest as it is.",
        "true",
        default="false",
        show=kinds.show_flag,
    ),
    Key(
        "output-reload",
        "output_reload",
        read_commands,
        "Command that is run after output-file was written anew, and once after every start.",
        "systemctl reload haproxy",
        show=show_commands,
    ),
    Key(
        "output-signal",
        "output_signal",
        read_signal,
        "Signal that is sent after output-file was written anew, and once after every start: its name and a "
        "file with a process id, or child for the program behind `s3discovery run --`; restart:child "
        "restarts that.",
        "HUP:/run/mosquitto/mosquitto.pid",
        show=":".join,
    ),
    Key(
        "output-folder",
        "output_folder",
        kinds.read_path,
        "Folder of further outputs: every *.properties file in it is one more, with the output-... keys.",
        "/etc/s3discovery/outputs",
    ),
)
# The keys of one output, in the settings or in a file of output-folder.
OUTPUT = tuple(key for key in COMMAND if key.name.startswith("output-") and key.name != "output-folder")


def command_clashes(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong between these keys, as (key, cure); `found` is values by attribute."""
    commands = ("command", "command_join")
    if found.get("broker") == "command" and not any(found.get(name, True) for name in commands):
        yield "command", "is missing; broker:command needs it, or command-join"
    if found.get("command_join") and not found.get("command_cluster", True):
        yield "command-cluster", "is missing; command-join needs it, to know who is in a cluster already"
    yield from output_clashes(found)


def output_clashes(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong between the keys of one output, as (key, cure)."""
    if found.get("output_file") and not found.get("output_template", True):
        yield "output-template", f"is missing; write one of {', '.join(BUILT_IN)}, or the path of a template"
    if found.get("output_reload") and found.get("output_signal"):
        yield "output-signal", "leave out either this or output-reload"
    if not found.get("output_file", True):
        for key in OUTPUT:
            if key.default is None and found.get(key.attribute):
                yield key.name, "write output-file too, or leave this out"
