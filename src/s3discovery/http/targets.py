"""The members as targets of Prometheus' http_sd. Pure."""

import re
from collections.abc import Iterable
from typing import Any

from s3discovery.ip import unfit, unmapped
from s3discovery.network.machine import is_one_machine
from s3discovery.node import Address, Member

_LOCAL_NAME = "localhost"
# Resolvers take 127.1, 0x7f.1 and 2130706433 for IPv4 addresses, and no top-level domain is such a number.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


def targets(members: Iterable[Member], own: Member | None, port: int | None = None) -> list[dict[str, Any]]:
    """Return a group for each member that others can dial, as DNS does; `port` replaces the transport's.

    Anybody who writes to the bucket could have Prometheus ask its own machine, or what is beside it: loopback
    is offered only among nodes of one machine."""
    members = sorted(members, key=lambda member: member.cluster_id)
    own_at = None if own is None else _is_loopback(own.address)
    with_loopback = is_one_machine(own_at, (_is_loopback(member.address) for member in members))
    groups = []
    for member in members:
        if not _is_fit(member.address, with_loopback=with_loopback):
            continue
        host, _, own_port = str(member.address).rpartition(":")
        labels = {"__meta_s3discovery_cluster_id": member.cluster_id}
        groups.append({"targets": [f"{host}:{own_port if port is None else port}"], "labels": labels})
    return groups


def _is_fit(address: Address, *, with_loopback: bool) -> bool:
    if address.ip is not None:
        return unfit(unmapped(address.ip), with_loopback=with_loopback) is None
    is_number = _NUMBER.fullmatch(address.host.rstrip(".").rpartition(".")[2]) is not None
    return address.is_dialable and not is_number and (with_loopback or not _is_loopback(address))


def _is_loopback(address: Address) -> bool:
    if address.ip is not None:
        return unmapped(address.ip).is_loopback
    name = address.host.lower().rstrip(".")
    return name == _LOCAL_NAME or name.endswith(f".{_LOCAL_NAME}")
