"""What a node costs as a process: time to its own file in the bucket, memory, idle processor time.

Each node is the installed command, executed as a user would. When its file is in the bucket is seen by
a proxy in front of the store, which notes when the store's answer to the PUT passes.
"""

import asyncio
import statistics

from bench.process import COMMAND, processor_s, resident_mib, run_node
from bench.proxy import Proxy
from bench.report import Figure, Part, progress, show_figures
from bench.sources import measure_sources
from bench.store import BUCKET, fill, settings_of
from s3discovery.clock import SystemClock
from s3discovery.demo.seaweedfs import SeaweedFS

WANTED_START_S = 0.5
WANTED_MIB = 55.0
WANTED_DOCTOR_S = 3.0
DOCTOR_RUNS = 3
RUNS, QUICK_RUNS = 11, 7
FILES, POLLS = 200, 20
IDLE_S, QUICK_IDLE_S = 20.0, 6.0

_clock = SystemClock()


def measure(*, quick: bool) -> Part:
    """Measure and print."""
    runs, idle_s = (QUICK_RUNS, QUICK_IDLE_S) if quick else (RUNS, IDLE_S)
    print(f"start: `s3discovery run` without a broker, as a process; median of {runs} after one to warm up\n")
    figures, starts_s = asyncio.run(_measure(runs, idle_s))
    progress("sources of credentials")
    figures += measure_sources(runs)
    progress("")
    show_figures(figures)
    return Part("start", figures, {"start_s": starts_s})


async def _measure(runs: int, idle_s: float) -> tuple[list[Figure], list[float]]:
    async with SeaweedFS() as store:
        await store.create_bucket(BUCKET)
        await fill(store, "memory/", FILES - 1)
        progress(f"{runs + 1} starts")
        starts_s = [await _start_once(store) for _ in range(runs + 1)][1:]
        start_s = statistics.median(starts_s)
        spread = f"min {min(starts_s):.2f}, max {max(starts_s):.2f}; the originals 1.0 to 1.4"
        progress("doctor")
        doctor_s = statistics.median([await _examine_once(store) for _ in range(DOCTOR_RUNS)])
        progress("memory and idle time")
        memory_mib = await _memory(store)
        idle_ms = await _idle(store, idle_s)
        progress("")
    return [
        Figure(
            "process start to own file in the bucket",
            start_s,
            "s",
            f"< {WANTED_START_S:g}",
            start_s < WANTED_START_S,
            spread,
        ),
        Figure(
            f"resident memory after {POLLS} polls, N={FILES}",
            memory_mib,
            "MiB",
            f"< {WANTED_MIB:g}",
            memory_mib < WANTED_MIB,
            "the originals 200",
        ),
        Figure(
            "doctor on a healthy set-up",
            doctor_s,
            "s",
            f"< {WANTED_DOCTOR_S:g}",
            doctor_s < WANTED_DOCTOR_S,
            f"median of {DOCTOR_RUNS}",
        ),
        Figure("processor time a second, poll-interval 60 s", idle_ms, "ms/s"),
    ], starts_s


async def _start_once(store: SeaweedFS) -> float:
    async with Proxy(store.endpoint) as proxy:
        begun_s = _clock.monotonic_s()
        async with run_node(settings_of(store, "start/", proxy.endpoint)):
            return await proxy.wait_for("PUT") - begun_s


async def _examine_once(store: SeaweedFS) -> float:
    """Return how long the command took, from start to end, in which all was well."""
    texts = settings_of(store, "doctor/") | {"external-address": "10.0.0.1"}
    options = [f"-o{key}={text}" for key, text in texts.items()]
    begun_s = _clock.monotonic_s()
    process = await asyncio.create_subprocess_exec(
        COMMAND, "doctor", "--strict", *options, stdout=asyncio.subprocess.PIPE, cwd="/"
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"doctor found something wrong:\n{out.decode()}")
    return _clock.monotonic_s() - begun_s


async def _memory(store: SeaweedFS) -> float:
    """Return the resident MiB of a node that has polled 20 times among 200 files."""
    async with Proxy(store.endpoint) as proxy:
        texts = settings_of(store, "memory/", proxy.endpoint, poll_interval="200ms")
        async with run_node(texts) as pid:
            await proxy.wait_for("list-type=2", POLLS)
            return resident_mib(pid)


async def _idle(store: SeaweedFS, for_s: float) -> float:
    """Return the milliseconds of processor time that a waiting node takes a second."""
    async with (
        Proxy(store.endpoint) as proxy,
        run_node(settings_of(store, "start/", proxy.endpoint, poll_interval="60s")) as pid,
    ):
        await proxy.wait_for("list-type=2")
        await _clock.sleep(1)  # what follows the start
        before_s, begun_s = processor_s(pid), _clock.monotonic_s()
        await _clock.sleep(for_s)
        return (processor_s(pid) - before_s) / (_clock.monotonic_s() - begun_s) * 1000
