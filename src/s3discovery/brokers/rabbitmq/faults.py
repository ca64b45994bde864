"""Why rabbitmqctl failed, and what to do: its texts, recognised. Pure.

The texts are those of RabbitMQ 3.10 as it printed them to us, and of the sources of 3.10 to 4.3.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SHOWN_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail: a name for the code to tell it by, the text that shows it, and the cure for people."""

    name: str
    shows: re.Pattern[str]
    cure: str


def _fault(name: str, shows: str, cure: str) -> Fault:
    return Fault(name, re.compile(shows, re.DOTALL), cure)


NO_COOKIE: Final = "no-cookie"
NO_RIGHTS: Final = "no-rights"
NAME_FORMS: Final = "name-forms"
UNRESOLVED: Final = "unresolved"
NO_EPMD: Final = "no-epmd"
NOT_RUNNING: Final = "not-running"
PORT_CLOSED: Final = "port-closed"
COOKIE: Final = "cookie"
VERSIONS: Final = "versions"
FEATURE_FLAGS: Final = "feature-flags"
DISAGREES: Final = "disagrees"
APP_STOPPED: Final = "app-stopped"
APP_RUNNING: Final = "app-running"
STILL_RUNNING: Final = "still-running"
NO_MEMBER: Final = "no-member"
ALONE: Final = "alone"
MINORITY: Final = "minority"
UNKNOWN: Final = "unknown"

# The first that shows counts: what is more special stands first.
FAULTS: Final = (
    _fault(
        NO_COOKIE,
        r"[Cc]ookie file .*(?:enoent|eacces|eperm|erofs)|accessible by owner only",
        "rabbitmqctl cannot use the Erlang cookie in its home folder; run the agent as the user of the "
        "broker (on Debian rabbitmq), or set HOME to the folder with its .erlang.cookie, mode 400",
    ),
    _fault(
        NO_RIGHTS,
        r"Only root or rabbitmq (?:should|can) run|[Pp]ermission denied|:eperm",
        "rabbitmqctl may not be run by this user; run the agent as root or as rabbitmq",
    ),
    _fault(
        NAME_FORMS,
        r"\{:node_name, :(?:short|long|hostname)\}|Hostname .* is illegal|rpcify_exception"
        r"|not_allowed.*long|System (?:NOT )?running to use fully qualified",
        "short and long node names never meet; give all nodes names of one kind, with RABBITMQ_NODENAME and "
        "RABBITMQ_USE_LONGNAME or with rabbitmq-node-name",
    ),
    _fault(
        UNRESOLVED,
        r"unable to connect to epmd .*(?:nxdomain|couldn't resolve hostname)",
        "the host in the node name does not resolve here; put it into DNS or /etc/hosts of every node, or "
        "use long names with an IP address",
    ),
    _fault(
        NO_EPMD,
        r"unable to connect to epmd",
        "epmd of that host cannot be reached; start the broker there, and open port 4369 between nodes",
    ),
    _fault(
        NOT_RUNNING,
        r"epmd reports: node '[^']*' not running at all",
        "no such node runs there; start it, or correct its name",
    ),
    _fault(
        PORT_CLOSED,
        r"can't establish TCP connection to the target node",
        "its distribution port is closed; open it (25672 by default, RABBITMQ_DIST_PORT) between nodes",
    ),
    _fault(
        COOKIE,
        r"TCP connection succeeded but Erlang distribution failed|Authentication failed \(rejected",
        "the Erlang cookies differ; put the same .erlang.cookie on every node (or their host names differ, "
        "or only some use TLS between nodes)",
    ),
    _fault(
        VERSIONS,
        r"version mismatch",
        "these versions cannot form a cluster; install the same Erlang/OTP release and a compatible RabbitMQ "
        "on every node",
    ),
    _fault(
        FEATURE_FLAGS,
        r"incompatible_feature_flags|feature_flags_compat_check|unsupported feature flags",
        "feature flags of the cluster and this node do not fit; run rabbitmqctl enable_feature_flag all on "
        "the older nodes, and install the same version everywhere",
    ),
    _fault(
        DISAGREES,
        r"thinks it's clustered with node",
        "one of them has forgotten the other, or has lost its data; see which below",
    ),
    _fault(
        NO_MEMBER,
        r"not_a_cluster_node|is not in the cluster|not_a_member",
        "it is no member of the cluster",
    ),
    _fault(
        STILL_RUNNING,
        r"must be stopped with|rabbit_still_running|failed_to_remove_node",
        "it still runs, and is no dead node",
    ),
    _fault(
        ALONE,
        r"no_running_cluster_nodes|leave a cluster if no online nodes|only_disc_node|only disc node",
        "no other member of its cluster is there to take leave of; start one first",
    ),
    _fault(
        MINORITY,
        r"[Kk]hepri (?:has timed out|cluster could be in minority)|timeout_waiting_for_leader",
        "most members of its cluster are not there, so it can change nothing; start them first",
    ),
    _fault(
        APP_STOPPED,
        r"'rabbit' app(?:lication)? to be running|'rabbit' application not running",
        "the RabbitMQ application is stopped; run rabbitmqctl start_app when it may go on (one that "
        "cluster_partition_handling = pause_minority has paused goes on by itself)",
    ),
    _fault(
        APP_RUNNING,
        r"'rabbit' app(?:lication)? to be stopped",
        "the RabbitMQ application still runs there",
    ),
)
_UNKNOWN: Final = _fault(UNKNOWN, r"", "see the broker's log")
_DISSENT: Final = re.compile(
    r"[Nn]ode :?'?\"?([\w@.-]+).{0,4} thinks it's clustered with node :?'?\"?([\w@.-]+)"
)
_STAMP: Final = re.compile(r"\d\d:\d\d:\d\d\.\d{3} \[(?:warning|error|info|notice)\]")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def diagnose(said: str) -> Fault:
    """Return why rabbitmqctl failed that `said` this."""
    return next((fault for fault in FAULTS if fault.shows.search(said)), _UNKNOWN)


def dissent(said: str) -> tuple[str, str] | None:
    """Return who believes himself clustered with whom, of two that disagree; None if `said` tells not."""
    found = _DISSENT.search(said)
    return (found[1], found[2]) if found is not None else None


def gist(said: str) -> str:
    """Return the lines of `said` that tell most, cut short."""
    return " ".join(_telling(said))[:_SHOWN_CHARS]


def _telling(said: str) -> Iterator[str]:
    lines = [_COLOUR.sub("", line).strip() for line in said.splitlines()]
    lines = [line for line in lines if line and _STAMP.match(line) is None]
    if "DIAGNOSTICS" in lines:
        # What stands before it is advice for every case, and what follows is about rabbitmqctl itself.
        found = lines[lines.index("DIAGNOSTICS") :]
        end = next((place for place, line in enumerate(found) if line.startswith("Current node")), len(found))
        told = [line.lstrip("* ") for line in found[:end] if line.startswith("*")]
        yield from [line for line in told if not line.startswith(("suggestion", "connected to epmd"))]
    else:
        start = next((place for place, line in enumerate(lines) if line.startswith("Error")), 0)
        yield from lines[start : start + 4]
