"""rabbitmqctl, run: one process a question, with a deadline, never through a shell of ours.

A run costs half a second of CPU, so nothing here is asked twice. Node names that go into an argument vector
are checked by `names.is_node_name` before: on Debian rabbitmqctl is a script that ends in another shell.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from s3discovery.brokers.rabbitmq import faults
from s3discovery.brokers.rabbitmq.names import is_long, is_node_name
from s3discovery.brokers.rabbitmq.status import ClusterStatus, Survey, read_cluster_status, read_survey
from s3discovery.errors import BrokerError
from s3discovery.program import without_secrets

log = logging.getLogger(__name__)

# A member that starts waits for the tables of its peers: 30 s, ten times, before it gives up.
START_LIMIT_S: Final = 330.0
_WAIT_TENTHS: Final = 50  # that one survey waits for a node that boots
# Asked of any version in any state. No $, ` or \ in it: Debian's rabbitmqctl passes it through a shell.
# Users and virtual hosts that the configuration makes are no data; passwords stay where they are.
_SURVEY: Final = """
Wait = fun Wait(N) -> case rabbit_boot_state:get() of
  S when S =:= ready; S =:= stopped; N =:= 0 -> S; _ -> timer:sleep(100), Wait(N - 1) end end,
Try = fun(F, E) -> try F() catch _:_ -> E end end,
Extra = fun(Key, Default, D) -> length([N || #{<<"name">> := N} <- maps:get(Key, D),
  {ok, N} =/= application:get_env(rabbit, Default)]) end,
Retained = fun() -> lists:sum([dets:info(T, size) || T <- dets:all(),
  string:find(lists:flatten(io_lib:format("~p", [T])), "mqtt_retained") =/= nomatch]) end,
Held = fun() -> D = rabbit_definitions:all_definitions(),
  Counts = maps:map(fun(_, L) -> length(L) end,
    maps:with([queues, exchanges, bindings, policies, parameters], D)),
  maps:merge(#{users => Extra(users, default_user, D), vhosts => Extra(vhosts, default_vhost, D),
    'retained messages' => Retained()}, Counts) end,
State = Wait(TENTHS),
io:format("~s~n", [rabbit_json:encode(#{node => node(), state => State,
  members => Try(fun() -> rabbit_nodes:all() end, []),
  held => case State of ready -> Try(Held, null); _ -> null end})]).
"""


class CtlError(BrokerError):
    """rabbitmqctl failed; `fault` says how, `said` is its own text."""

    def __init__(self, message: str, fault: faults.Fault, said: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.said = said


class Rabbitmqctl:
    """Asks and commands nodes; `vector` is how rabbitmqctl is called."""

    def __init__(self, vector: Sequence[str], environ: Mapping[str, str], limit_s: float) -> None:
        self._vector = tuple(vector)
        # A rabbitmqctl that cannot start would leave its dump wherever the agent was started.
        self._environ = {"ERL_CRASH_DUMP_SECONDS": "0"} | dict(without_secrets(environ))
        self._limit_s = limit_s
        self.runs = 0

    async def version(self) -> str:
        """Return the version of the broker that is installed; needs no running node."""
        lines = (await self._run(("version",))).split()
        return lines[-1] if lines else ""

    async def survey(self, node: str, *, wait: bool = True) -> Survey:
        """Return how a node is; one that boots is waited for, at most 5 s."""
        question = _SURVEY.replace("TENTHS", str(_WAIT_TENTHS if wait else 0))
        return read_survey(await self.tell(node, "eval", " ".join(question.split())))

    async def cluster_status(self, node: str) -> ClusterStatus:
        """Return the cluster as `node` sees it; its application must run."""
        return read_cluster_status(await self.tell(node, "cluster_status", "--formatter", "json"))

    async def tell(self, node: str, *command: str, limit_s: float | None = None) -> str:
        """Run a command on `node`; return what it printed. Raises CtlError."""
        if not is_node_name(node):
            raise BrokerError(f"{node!r} is no name of an Erlang node; write name@host")
        names = ("--longnames",) if is_long(node) else ()
        return await self._run(("--node", node, *names, *command), limit_s)

    async def _run(self, arguments: Sequence[str], limit_s: float | None = None) -> str:
        limit_s = limit_s or self._limit_s
        self.runs += 1
        try:
            process = await asyncio.create_subprocess_exec(
                *self._vector,
                *arguments,
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise BrokerError(
                f"rabbitmqctl ({self._vector[0]!r}) cannot be started: {error.strerror}; install RabbitMQ "
                "here, or write the path of its rabbitmqctl into rabbitmq-ctl"
            ) from error
        verb = next((word for word in arguments if word in _VERBS), arguments[-1])
        try:
            async with asyncio.timeout(limit_s):
                printed, complained = await process.communicate()
        except TimeoutError as error:
            raise BrokerError(
                f"rabbitmqctl {verb} did not end within {limit_s:g} s and was killed; the broker hangs, or "
                "set rabbitmq-ctl-timeout higher"
            ) from error
        finally:
            if process.returncode is None:
                await _kill(process)
        output = printed.decode(errors="replace")
        if process.returncode == 0:
            return output
        said = output + complained.decode(errors="replace")
        fault = faults.diagnose(said)
        log.debug("rabbitmqctl failed verb=%s code=%d said=%r", verb, process.returncode or 0, said)
        message = f"rabbitmqctl {verb} failed: {fault.cure} (it said {faults.gist(said)!r})"
        raise CtlError(message, fault, said)


_VERBS: Final = frozenset(
    {
        "version",
        "eval",
        "cluster_status",
        "stop_app",
        "start_app",
        "reset",
        "join_cluster",
        "forget_cluster_node",
    }
)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End a run and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
