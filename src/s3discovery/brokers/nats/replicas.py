"""How many copies the MQTT streams should have, and the next step there, once the last has settled.

NATS makes these streams with as many copies as it has servers at the first connect of an MQTT client, and
leaves it at that: with one copy each, any node that dies takes sessions with it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREFIX = "$MQTT_"


@dataclass(frozen=True, slots=True)
class Copies:
    """A stream: how many copies are wanted, who leads, who follows, and which of those are up to date.

    `is_moving`: NATS is changing who keeps it. `config` is the stream's, as it is sent back to change it."""

    name: str
    wanted: int
    leader: str
    followers: frozenset[str]
    current: frozenset[str]
    is_moving: bool
    config: Mapping[str, Any]

    @property
    def is_settled(self) -> bool:
        """Whether all copies wanted are there and up to date."""
        complete = len(self.followers) == self.wanted - 1 and self.followers == self.current
        return bool(self.leader) and complete and not self.is_moving


@dataclass(frozen=True, slots=True)
class Step:
    """One change: so many copies of that stream."""

    stream: Copies
    copies: int


def read_copies(said: Mapping[str, Any]) -> Copies | None:
    """Read the answer to STREAM.INFO; None if it is none."""
    config, cluster = said.get("config"), said.get("cluster")
    if not isinstance(config, dict) or not isinstance(config.get("name"), str):
        return None
    cluster = cluster if isinstance(cluster, dict) else {}
    listed = cluster.get("replicas")
    replicas = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    wanted = config.get("num_replicas")
    leader = cluster.get("leader")
    return Copies(
        name=config["name"],
        wanted=wanted if isinstance(wanted, int) else 1,
        leader=leader if isinstance(leader, str) else "",
        followers=frozenset(str(each.get("name")) for each in replicas),
        current=frozenset(
            str(each.get("name"))
            for each in replicas
            if each.get("current") is True and not each.get("offline")
        ),
        is_moving="desired" in cluster,
        config=config,
    )


def next_step(streams: Sequence[Copies], *, limit: int, size: int, online: int) -> Step | None:
    """Return what to do next, None if nothing (yet).

    `size` members are in the meta group, `online` of them are up. A copy more only when every stream
    is settled; a copy less only for members that were removed, however unsettled that left the stream."""
    for stream in sorted(streams, key=lambda each: each.name):
        if stream.wanted > size and stream.leader:
            return Step(stream, max(size, 1))
    aim = min(limit, size, online)
    lacking = [stream for stream in streams if stream.wanted < aim]
    if not lacking or not all(stream.is_settled for stream in streams):
        return None
    least = min(lacking, key=lambda each: (each.wanted, each.name))
    return Step(least, least.wanted + 1)


def is_done(streams: Sequence[Copies], *, limit: int, size: int) -> bool:
    """Tell whether all streams are as they should be."""
    aim = min(limit, size)
    return all(stream.is_settled and aim <= stream.wanted <= size for stream in streams)


def only_on(streams: Collection[Copies], name: str) -> list[Copies]:
    """Return the streams of which the server `name` keeps the only copy."""
    return [stream for stream in streams if stream.leader == name and not stream.followers]


def unsettled_on(streams: Collection[Copies], name: str) -> list[Copies]:
    """Return the streams with several copies, one of them on the server `name`, that are not settled."""
    return [
        stream
        for stream in streams
        if stream.wanted > 1 and name in {stream.leader, *stream.followers} and not stream.is_settled
    ]
