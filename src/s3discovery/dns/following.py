"""The zone kept in step with discovery: after each listing, and whenever a host name is found out.

A listing is told at once, with the addresses that are known: a name that nobody answers for must not hold up
the joins and leaves of all others.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping

from dns.rdatatype import RdataType

from s3discovery.clock import Clock, sleep_unless
from s3discovery.discovery import Discovery
from s3discovery.dns.directory import Directory, FindsNames
from s3discovery.dns.responder import Responder
from s3discovery.dns.zone import Node, Zone, fit_to_publish
from s3discovery.ip import IP, unfit, unmapped
from s3discovery.network.machine import is_one_machine
from s3discovery.network.names import Names
from s3discovery.node import Member

log = logging.getLogger(__name__)

# The time to the next listing, but not more: a newcomer may make us look sooner.
_TTL_LIMIT_S = 5.0
_PAUSE_S = 0.2  # names come in one by one, and a zone of 500 nodes takes milliseconds


def time_to_live_s(*, listed_s: float | None, poll_interval_s: float, now_s: float) -> int:
    """Return how long an answer holds: until the next listing, 5 s at most. All by one clock."""
    if listed_s is None:
        return 0
    return int(max(0.0, min(listed_s + poll_interval_s - now_s, _TTL_LIMIT_S)))


class Following:
    """Gives a responder what the last complete listing says."""

    def __init__(
        self,
        discovery: Discovery,
        responder: Responder,
        clock: Clock,
        make_names: Callable[[int], FindsNames] = Names,
    ) -> None:
        self._discovery = discovery
        self._responder = responder
        self._clock = clock
        self._make_names = make_names
        self._due = asyncio.Event()
        self._told: tuple[list[Node], int | None, bool] | None = None
        self._serial = 0
        self._odd: tuple[str, ...] = ()
        self._left_out: Mapping[str, list[str]] = {}
        self._crowded: frozenset[RdataType] = frozenset()

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            directory = Directory(tasks, self._clock, self._due.set, self._make_names)
            tasks.create_task(self._await_listings(), name="dns-listings")
            while True:
                # Names are looked up again by their own time, whatever the polls do.
                wait_s = max(0.0, directory.due_s - self._clock.monotonic_s())
                await sleep_unless(self._clock, wait_s, self._due.wait())
                self._due.clear()
                members = self._discovery.members
                directory.mind({member.address.host for member in members if _has_name(member)})
                self._publish(members, directory)
                await self._clock.sleep(_PAUSE_S)

    async def _await_listings(self) -> None:
        polls = 0
        while True:
            await self._discovery.polled(polls)
            polls = self._discovery.polls
            self._due.set()

    def _publish(self, members: frozenset[Member], directory: Directory) -> None:
        own = self._discovery.own
        found = {
            member: _addresses_of(member, directory)
            for member in sorted(members, key=lambda member: member.cluster_id)
        }
        with_loopback = is_one_machine(
            None if own is None else any(ip.is_loopback for ip in found.get(own, ())),
            (bool(ips) and all(ip.is_loopback for ip in ips) for ips in found.values()),
        )
        nodes = [
            Node(member.cluster_id, member.address.port, fit_to_publish(ips, with_loopback=with_loopback))
            for member, ips in found.items()
        ]
        self._warn_of_unfit(found, with_loopback=with_loopback)
        # "Nobody is there" would be untrue: all may have names that are not found yet, or no fit address.
        is_known = any(node.addresses for node in nodes) or not members
        port = own.address.port if own is not None else None
        if (nodes, port, is_known) == self._told:
            return
        self._told = (nodes, port, is_known)
        self._serial += 1
        name = self._responder.zone.name
        self._responder.replace(Zone(name, nodes, port=port, serial=self._serial, is_known=is_known))
        self._warn()

    def _warn_of_unfit(self, found: Mapping[Member, tuple[IP, ...]], *, with_loopback: bool) -> None:
        """Say once who is left out for his address, and why."""
        left_out = defaultdict[str, list[str]](list)
        for member, ips in found.items():
            kinds = [kind for ip in ips if (kind := unfit(ip, with_loopback=with_loopback)) is not None]
            if not member.address.is_dialable:
                left_out["no-address"].append(member.cluster_id)
            elif kinds and len(kinds) == len(ips):
                left_out[kinds[0]].append(member.cluster_id)
        for kind, ids in left_out.items():
            if ids != self._left_out.get(kind):
                log.warning(
                    "dns leaves out nodes at addresses that others cannot dial: set external-address there "
                    "kind=%s cluster_ids=%r",
                    kind,
                    ids,
                )
        self._left_out = left_out

    def _warn(self) -> None:
        """Say once what those who ask for addresses do not get."""
        zone, crowds = self._responder.zone, self._responder.crowds()
        if zone.odd and zone.odd != self._odd:
            log.warning(
                "dns leaves nodes at another port to SRV, since addresses have none: give all nodes one port "
                "port=%s cluster_ids=%r",
                zone.port,
                zone.odd,
            )
        self._odd = zone.odd
        for crowd in crowds:
            if crowd.kind not in self._crowded:
                log.warning(
                    "dns answers by UDP hold a part of the addresses, another each time: raise dns-max-udp "
                    "if the network and those who ask take more (HiveMQ takes 4096, and never asks by TCP) "
                    "type=%s addresses=%d fit=%d dns-max-udp=%d",
                    crowd.kind.name,
                    crowd.addresses,
                    crowd.fit,
                    crowd.limit_bytes,
                )
        self._crowded = frozenset(crowd.kind for crowd in crowds)


def _has_name(member: Member) -> bool:
    """Tell whether a look-up is needed, and allowed."""
    return member.address.ip is None and member.address.is_dialable


def _addresses_of(member: Member, directory: Directory) -> tuple[IP, ...]:
    ip = member.address.ip
    return directory.addresses_of(member.address.host) if ip is None else (unmapped(ip),)
