"""What it costs to tell others of the cluster: a node with HTTP and DNS on, idle; questions by DNS."""

import asyncio
import itertools
import socket
import statistics
import time
from collections.abc import Sequence

import dns.message
import dns.query

from bench.process import processor_s, resident_mib, run_node
from bench.proxy import Proxy
from bench.report import Figure, Part, progress, show_figures
from bench.store import BUCKET, fill, settings_of
from s3discovery.clock import SystemClock
from s3discovery.demo.child import HOST, choose_ports
from s3discovery.demo.seaweedfs import SeaweedFS

WANTED_MIB = 70.0
WANTED_IDLE_MS = 1.0
WANTED_PER_S = 5000.0
WANTED_PER_S_MANY = 1000.0  # five times what one caller is allowed
MEMBERS = 50
MANY_MEMBERS = 500  # more than one datagram holds
IDLE_S, QUICK_IDLE_S = 20.0, 6.0
ROUNDS, QUICK_ROUNDS = 5, 3
ROUND_S = 1.0
_WINDOW = 64  # questions under way at a time
_ANSWER_LIMIT_S = 1.0
_NAME = "cluster.s3discovery."
_SIZES_BYTES = range(512, 4097, 7)  # what clients say that they take

_clock = SystemClock()


def measure(*, quick: bool) -> Part:
    """Measure and print."""
    print(f"serving: a node among {MEMBERS} with HTTP and DNS on, as a process; asked from this machine\n")
    idle_s, rounds = (QUICK_IDLE_S, QUICK_ROUNDS) if quick else (IDLE_S, ROUNDS)
    figures, rates, many_rates = asyncio.run(_measure(idle_s, rounds))
    show_figures(figures)
    return Part("serving", figures, {"dns_per_s": rates, "dns_many_per_s": many_rates})


async def _measure(idle_s: float, rounds: int) -> tuple[list[Figure], list[float], list[float]]:
    async with SeaweedFS() as store:
        await store.create_bucket(BUCKET)
        await fill(store, "serving/", MEMBERS - 1)
        await fill(store, "many/", MANY_MEMBERS - 1)
        many_rates = await _measure_many(store, rounds)
        ports = choose_ports(["http", "dns"])
        async with Proxy(store.endpoint) as proxy:
            texts = settings_of(store, "serving/", proxy.endpoint, poll_interval="60s")
            texts |= {"http-port": str(ports["http"]), "dns-listen": f"{HOST}:{ports['dns']}"}
            async with run_node(texts) as pid:
                progress("idle, with HTTP and DNS on")
                await proxy.wait_for("list-type=2")
                await asyncio.to_thread(_wait_for_dns, ports["dns"], MEMBERS)
                before_s, begun_s = processor_s(pid), _clock.monotonic_s()
                await _clock.sleep(idle_s)
                idle_ms = (processor_s(pid) - before_s) / (_clock.monotonic_s() - begun_s) * 1000
                progress("questions by DNS")
                rates = [
                    await asyncio.to_thread(_ask_for_a_round, ports["dns"], [_question()])
                    for _ in range(rounds)
                ]
                memory_mib = resident_mib(pid)
        progress("")
    rate = statistics.median(rates)
    spread = f"min {min(rates):.0f}, max {max(rates):.0f}; {_WINDOW} at a time, each of {MEMBERS} addresses"
    many_rate = statistics.median(many_rates)
    many_spread = f"min {min(many_rates):.0f}, max {max(many_rates):.0f}; each with another size by EDNS"
    figures = [
        Figure(
            "resident memory, HTTP and DNS on, after all below",
            memory_mib,
            "MiB",
            f"< {WANTED_MIB:g}",
            memory_mib < WANTED_MIB,
        ),
        Figure(
            "processor time a second, HTTP and DNS on, 60 s poll",
            idle_ms,
            "ms/s",
            f"< {WANTED_IDLE_MS:g}",
            idle_ms < WANTED_IDLE_MS,
        ),
        Figure(
            "questions answered a second by DNS (UDP)",
            rate,
            "/s",
            f">= {WANTED_PER_S:g}",
            rate >= WANTED_PER_S,
            spread,
        ),
        Figure(
            f"the same among {MANY_MEMBERS} members",
            many_rate,
            "/s",
            f">= {WANTED_PER_S_MANY:g}",
            many_rate >= WANTED_PER_S_MANY,
            many_spread,
        ),
    ]
    return figures, rates, many_rates


async def _measure_many(store: SeaweedFS, rounds: int) -> list[float]:
    """Return the answers a second of a node among many, to questions that differ in the size they allow."""
    progress(f"questions by DNS, {MANY_MEMBERS} members")
    questions = [_question(size_bytes) for size_bytes in _SIZES_BYTES]
    port = choose_ports(["dns"])["dns"]
    texts = settings_of(store, "many/", store.endpoint, poll_interval="60s")
    async with run_node(texts | {"dns-listen": f"{HOST}:{port}"}):
        await asyncio.to_thread(_wait_for_dns, port, MANY_MEMBERS)
        return [await asyncio.to_thread(_ask_for_a_round, port, questions) for _ in range(rounds)]


def _wait_for_dns(port: int, members: int) -> None:
    """Return once DNS knows all members."""
    deadline_s = _clock.monotonic_s() + 20
    question = dns.message.make_query(_NAME, "A")
    while _clock.monotonic_s() < deadline_s:
        try:
            answer = dns.query.tcp(question, HOST, timeout=1, port=port)
        except (OSError, EOFError):  # nobody listens yet
            time.sleep(0.1)
            continue
        if answer.answer and len(answer.answer[0]) == members:
            return
        time.sleep(0.1)
    raise RuntimeError("DNS did not come to know all members")


def _ask_for_a_round(port: int, questions: Sequence[bytes]) -> float:
    """Return how many answers came a second; a question whose answer is lost is made up for by another."""
    ask, answers = itertools.cycle(questions), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(_ANSWER_LIMIT_S)
        asker.connect((HOST, port))
        begun_s = _clock.monotonic_s()
        for _ in range(_WINDOW):
            asker.send(next(ask))
        while (spent_s := _clock.monotonic_s() - begun_s) < ROUND_S:
            try:
                asker.recv(65535)
                answers += 1
            except TimeoutError:
                pass
            asker.send(next(ask))
    return answers / spent_s


def _question(size_bytes: int = 4096) -> bytes:
    return dns.message.make_query(_NAME, "A", use_edns=True, payload=size_bytes).to_wire()
