"""Requests and milliseconds of a poll, beside what the Java originals do with the same HTTP client.

One node among N files. `first`: from the first LIST until all members are known, connections cold.
`steady`: a poll when nothing has changed. The control does what the originals do at every poll: HEAD of
the bucket, LIST, and N GETs one after the other, each body decoded. Both are run in turn, with a client
of their own; requests are counted where aiohttp sends them.
"""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.report import Figure, Part, progress, show_figures, show_table
from bench.store import BUCKET, OWN, MeasuredBucket, fill, settings_of
from s3discovery import codec
from s3discovery.clock import SystemClock
from s3discovery.demo.seaweedfs import SeaweedFS
from s3discovery.discovery import Discovery
from s3discovery.settings.config import parse

SIZES = (10, 50, 200, 1000)
QUICK_SIZES = (10, 200)
REPETITIONS = 9
QUICK_REPETITIONS = 3
WANTED_RATIO, WANTED_RATIO_AT = 10.0, 200

_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Poll:
    """One poll: HTTP requests sent, and how long it took."""

    requests: float
    took_ms: float


@dataclass(frozen=True, slots=True)
class Row:
    """Medians at one number of files."""

    files: int
    first: Poll
    control_first: Poll
    steady: Poll
    control_steady: Poll

    @property
    def first_ratio(self) -> float:
        return self.control_first.took_ms / self.first.took_ms

    @property
    def steady_ratio(self) -> float:
        return self.control_steady.took_ms / self.steady.took_ms


def measure(*, quick: bool) -> Part:
    """Measure and print."""
    repetitions = QUICK_REPETITIONS if quick else REPETITIONS
    print(f"polls: one node among N files, SeaweedFS on loopback; ms, median of {repetitions}")
    print("control: HEAD, LIST, N GETs one after the other, as the originals; same client, run in turn\n")
    rows = asyncio.run(_measure(QUICK_SIZES if quick else SIZES, repetitions))
    compared = ("requests", "ms", "control:", "requests", "ms", "ratio")
    show_table(("N", "first:", *compared, "steady:", *compared), [_cells(row) for row in rows])
    figures = _figures(rows)
    show_figures(figures)
    return Part("polls", figures, [asdict(row) for row in rows])


async def _measure(sizes: Sequence[int], repetitions: int) -> list[Row]:
    async with SeaweedFS() as store:
        await store.create_bucket(BUCKET)
        rows = []
        for files in sizes:
            prefix = f"n{files}/"
            await fill(store, prefix, files - 1)  # the own file is the last of the N
            pairs = []
            for number in range(repetitions):
                progress(f"N={files}: {number + 1} of {repetitions}")
                pairs.append(await _once(store, prefix, files))
            rows.append(Row(files, *(_median(polls) for polls in zip(*pairs, strict=True))))
        progress("")
        return rows


async def _once(store: SeaweedFS, prefix: str, files: int) -> tuple[Poll, Poll, Poll, Poll]:
    """Return first, control first, steady and control steady poll; the own file is there throughout."""
    settings = parse(settings_of(store, prefix))
    async with (
        MeasuredBucket.at(store.endpoint, store.credentials) as bucket,
        MeasuredBucket.at(store.endpoint, store.credentials) as control,
        Discovery(settings, bucket, OWN) as discovery,
    ):
        ended_s, wire = _clock.monotonic_s(), bucket.wire
        begun_s = next(at_s for verb, at_s in wire.started_s if verb == "LIST")
        first = Poll(wire.requests - wire.sent["PUT"], (ended_s - begun_s) * 1000)
        assert len(discovery.members) == files
        control_first = await _control(control, prefix, files)
        steady = await _steady(discovery, bucket)
        control_steady = await _control(control, prefix, files)
        return first, control_first, steady, control_steady


async def _steady(discovery: Discovery, bucket: MeasuredBucket) -> Poll:
    seen, before = discovery.polls, bucket.wire.requests
    begun_s = _clock.monotonic_s()
    discovery.look_now()
    await discovery.polled(seen)
    return Poll(bucket.wire.requests - before, (_clock.monotonic_s() - begun_s) * 1000)


async def _control(bucket: MeasuredBucket, prefix: str, files: int) -> Poll:
    before, begun_s = bucket.wire.requests, _clock.monotonic_s()
    await bucket.head()
    listing = await bucket.list(prefix)
    found = [
        codec.decode((await bucket.get(entry.key, limit=codec.BODY_LIMIT)).body) for entry in listing.entries
    ]
    assert len(found) == files
    return Poll(bucket.wire.requests - before, (_clock.monotonic_s() - begun_s) * 1000)


def _median(polls: Sequence[Poll]) -> Poll:
    return Poll(
        statistics.median(poll.requests for poll in polls), statistics.median(poll.took_ms for poll in polls)
    )


def _cells(row: Row) -> tuple[str, ...]:
    def pair(poll: Poll, control: Poll, ratio: float) -> tuple[str, ...]:
        ours = ("", f"{poll.requests:g}", f"{poll.took_ms:.1f}")
        return (*ours, "", f"{control.requests:g}", f"{control.took_ms:.1f}", f"{ratio:.1f}x")

    return (
        str(row.files),
        *pair(row.first, row.control_first, row.first_ratio),
        *pair(row.steady, row.control_steady, row.steady_ratio),
    )


def _figures(rows: Sequence[Row]) -> list[Figure]:
    figures = []
    for row in rows:
        note = f"control {row.control_steady.requests:g} (N+2 = {row.files + 2})"
        is_ok = row.steady.requests == 1 and row.control_steady.requests == row.files + 2
        what = f"requests of a steady poll, N={row.files}"
        figures.append(Figure(what, row.steady.requests, "", "1", is_ok, note))
    at = next(row for row in rows if row.files == WANTED_RATIO_AT)
    figures.append(
        Figure(
            f"steady poll faster than the control, N={WANTED_RATIO_AT}",
            at.steady_ratio,
            "times",
            f">= {WANTED_RATIO:g}",
            at.steady_ratio >= WANTED_RATIO,
            f"{at.steady.took_ms:.1f} ms against {at.control_steady.took_ms:.1f} ms",
        )
    )
    return figures
