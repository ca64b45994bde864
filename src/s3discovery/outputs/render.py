"""A process that renders one template and ends: JSON on its standard input, the text on its standard output.

It limits itself before it looks at the template. Exit codes: 0, or REFUSED with the reason as its output.
"""

import json
import resource
import sys
from typing import Any

from s3discovery.errors import BrokerError
from s3discovery.outputs.template import SandboxedTemplate
from s3discovery.presentation import Roster, Shown

REFUSED = 3
# Of data; the interpreter and its libraries have some 15 MiB besides. Two templates at a time (see Outputs)
# and the agent must have room in what our units and manifests allow. 10,000 members take a third of this.
MEMORY_LIMIT_BYTES = 64 * 1024 * 1024
# Of processor time. Less than whoever started us waits: so he can tell a template that loops from a machine
# that has no time for it.
CPU_LIMIT_S = 5


def make_request(name: str, source: str, variables: dict[str, str], roster: Roster | None) -> bytes:
    """Return what the process reads; without a roster it tries the template out, and prints nothing."""
    members = None if roster is None else {"own": roster.own.row(), "peers": [p.row() for p in roster.peers]}
    request = {"name": name, "source": source, "variables": variables, "roster": members}
    return json.dumps(request).encode()


def main() -> int:
    """Do what the request says; return the exit code."""
    # Not the address space, which holds files that are mapped, too: how many is different everywhere.
    _limit(resource.RLIMIT_DATA, MEMORY_LIMIT_BYTES)
    _limit(resource.RLIMIT_CPU, CPU_LIMIT_S + 1)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    # Below the last limit, a signal of its own ends us, which tells why.
    resource.setrlimit(resource.RLIMIT_CPU, (min(CPU_LIMIT_S, hard), hard))
    _limit(resource.RLIMIT_CORE, 0)
    request = json.loads(sys.stdin.buffer.read())
    try:
        content, code = _answer(request), 0
    except BrokerError as error:
        content, code = str(error).encode(errors="backslashreplace"), REFUSED
    except MemoryError:
        content, code = f"output-template {request['name']!r} needs too much memory".encode(), REFUSED
    sys.stdout.buffer.write(content)
    return code


def _answer(request: dict[str, Any]) -> bytes:
    template = SandboxedTemplate(request["name"], request["source"])
    members = request["roster"]
    if members is None:
        template.try_out(request["variables"])
        return b""
    roster = Roster(Shown(**members["own"]), tuple(Shown(**row) for row in members["peers"]))
    return template.render(roster, request["variables"])


def _limit(what: int, most: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    sys.exit(main())
