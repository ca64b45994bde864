"""Clusters under random faults, on a bucket in memory and a clock moved by hand: the rules, all at once.

Whoever has seen a living node never loses it, whatever happens to the store, to clocks or to files; and
when the faults end, every node sees just the living, and the bucket holds just their files. A failure
names its seed.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from s3discovery import codec
from s3discovery.discovery import Discovery
from s3discovery.errors import CodecError, StoreFaultError, UnreachableError
from s3discovery.node import Address, Member, NodeFile
from s3discovery.testing import Cable, FakeClock, MemoryBucket, make_settings

POLL_S, UPDATE_S, EXPIRATION_S = 5, 20, 60
SETTINGS = make_settings(
    s3_endpoint="http://store",  # so that nodes ask it what it honours, in the middle of everything else
    poll_interval=f"{POLL_S}s",
    update_interval=f"{UPDATE_S}s",
    file_expiration=f"{EXPIRATION_S}s",
)
STEPS = 60
NODES = 5
# Long enough for the dead to expire after the last mercy, and for backward leaps of the store's clock.
QUIET_S = 10 * EXPIRATION_S
LEAP_BACK_S = 100


class Node:
    def __init__(self, world: "World", cluster_id: str) -> None:
        self.cluster_id = cluster_id
        self.cable = Cable(world.store)
        clock = world.clock.seen_from(skew_s=world.dice.choice([0, -7, 7]) * 3600.0)
        own = Member(cluster_id, Address(f"{cluster_id}.example", 7800))
        self.discovery = Discovery(SETTINGS, self.cable, own, clock=clock)
        self.known: set[str] = set()
        self._end = asyncio.Event()
        self._task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        async with self.discovery:
            await self._end.wait()

    async def end(self, clock: FakeClock) -> None:
        self._end.set()
        while not self._task.done():
            await clock.settle()
        self._task.result()

    @property
    def sees(self) -> set[str]:
        return {member.cluster_id for member in self.discovery.members}


class World:
    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = FakeClock()
        self.store = MemoryBucket(self.clock)
        self.living: dict[str, Node] = {}
        self.cut_off: set[str] = set()
        self.numbers = iter(range(10**6))

    async def start(self) -> None:
        if len(self.living) < NODES:
            cluster_id = f"n{next(self.numbers)}"
            self.living[cluster_id] = Node(self, cluster_id)
            await self.clock.settle()

    async def leave(self) -> None:
        if node := self._any(but=1):
            self._forget(node)
            await node.end(self.clock)

    async def kill(self) -> None:
        if node := self._any(but=1):
            self._forget(node)
            node.cable.cut = UnreachableError("killed")
            await node.end(self.clock)

    async def outage(self) -> None:
        self.store.outage = self.dice.choice([UnreachableError("no answer"), StoreFaultError("503")])
        await self.pass_time(self.dice.choice([1, POLL_S, UPDATE_S, EXPIRATION_S, 7 * EXPIRATION_S]))
        self.store.outage = None

    async def cut_one_off(self) -> None:
        """The others may lose a node that cannot refresh its file; it must not lose them."""
        if node := self._any():
            node.cable.cut = UnreachableError("cut off")
            self.cut_off.add(node.cluster_id)
            await self.pass_time(self.dice.choice([1, POLL_S, UPDATE_S, 2 * EXPIRATION_S]))
            node.cable.cut = None
            await self.pass_time(2 * UPDATE_S)
            self.cut_off.remove(node.cluster_id)

    async def overwrite(self) -> None:
        if node := self._any():
            garbage = self.dice.choice(
                [b"", b"garbage", bytes(range(256)), b"A" * 10_000, forged("somebody")]
            )
            self.store.plant(f"nodes/{node.cluster_id}", garbage)

    async def wipe(self) -> None:
        for key in list(self.store.keys):
            self.store.drop(key)

    async def litter(self) -> None:
        name = self.dice.choice(["notes.txt", "", "sub/folder", "ünï", "x" * 100])
        age_s = self.dice.choice([0, 10 * EXPIRATION_S])
        self.store.plant(f"nodes/{name}", self.dice.choice([b"", b"text", forged("victim")]), age_s=age_s)

    async def leap(self) -> None:
        self.store.skew_s += self.dice.choice([10 * 3600.0, EXPIRATION_S / 2, -LEAP_BACK_S / 2])

    async def flake(self) -> None:
        """Every third request fails for a while."""
        ask, count = self.store._ask, iter(range(10**6))

        async def failing(verb: str, key: str) -> None:
            if next(count) % 3 == 2:
                raise StoreFaultError("500")
            await ask(verb, key)

        self.store._ask = failing  # type: ignore[method-assign]
        await self.pass_time(2 * UPDATE_S)
        self.store._ask = ask  # type: ignore[method-assign]

    async def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            await self.clock.advance(1)
            for node in self.living.values():
                sees = node.sees
                assert node.cluster_id in sees, f"{node.cluster_id} lost itself"
                lost = node.known - sees - self.cut_off
                assert not lost, f"{node.cluster_id} lost {sorted(lost)} at {self.clock.monotonic_s():.0f} s"
                node.known = sees & self.living.keys()

    def _any(self, *, but: int = 0) -> Node | None:
        return self.dice.choice(list(self.living.values())) if len(self.living) > but else None

    def _forget(self, node: Node) -> None:
        """Expect nobody to see a node that has ended."""
        del self.living[node.cluster_id]
        for other in self.living.values():
            other.known.discard(node.cluster_id)


def forged(cluster_id: str) -> bytes:
    return codec.encode(NodeFile("1", 1, cluster_id, Address("forged.example", 1)), "1")


async def simulate(seed: int) -> None:
    random.seed(seed)
    world = World(seed)
    actions: list[tuple[Callable[[], object], int]] = [
        (world.start, 6),
        (world.leave, 1),
        (world.kill, 1),
        (world.outage, 2),
        (world.cut_one_off, 1),
        (world.overwrite, 2),
        (world.wipe, 1),
        (world.litter, 1),
        (world.leap, 1),
        (world.flake, 1),
    ]
    async with AsyncExitStack() as stack:
        await world.start()
        for _ in range(STEPS):
            [action] = world.dice.choices([a for a, _ in actions], [weight for _, weight in actions])
            await action()  # type: ignore[misc]  # every action is a coroutine function
            await world.pass_time(world.dice.choice([1, 2, POLL_S, 3 * POLL_S]))
        await world.pass_time(QUIET_S)
        living = set(world.living)
        for node in world.living.values():
            stack.push_async_callback(node.end, world.clock)
            assert node.sees == living, (
                f"{node.cluster_id} sees {sorted(node.sees)} instead of {sorted(living)}"
            )
        files = {key for key in world.store.keys if says_its_key(key, world.store.peek(key).body)}
        ghosts = files - {f"nodes/{cluster_id}" for cluster_id in living}
        assert not ghosts, f"{sorted(ghosts)} are files of the dead"
        assert len(files) == len(living), "every living node has its file"


def says_its_key(key: str, body: bytes) -> bool:
    """Tell a node file from litter, which nobody may clear."""
    try:
        return f"nodes/{codec.decode(body).cluster_id}" == key
    except CodecError:
        return False


@pytest.mark.parametrize("seed", range(12))
async def test_whoever_lives_is_never_lost_and_whoever_is_dead_is_gone(seed: int) -> None:
    await simulate(seed)


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
async def test_the_same_for_long(block: int) -> None:
    for seed in range(1000 + block * 100, 1000 + block * 100 + 100):
        try:
            await simulate(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
