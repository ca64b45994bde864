"""Whom to connect to: what a member's file says of its end of the mesh. Pure.

A public key travels as hexadecimal digits in the metadata of the node file.
"""

import re
from typing import Final, NamedTuple

from s3discovery.errors import BrokerError
from s3discovery.ip import IP
from s3discovery.node import Address, Member

KEY_METADATA: Final = "curve"
_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)


class PeerError(BrokerError):
    """A member that the mesh cannot connect to; the message says why."""


class Peer(NamedTuple):
    """Another node's end of the mesh; `key` is its public CURVE key in hexadecimal."""

    cluster_id: str
    key: str
    address: Address


def endpoint_of(ip: IP, port: int | str) -> str:
    """Return the ZeroMQ endpoint of an IP address and a port."""
    return f"tcp://[{ip}]:{port}" if ip.version == 6 else f"tcp://{ip}:{port}"


def read_peer(member: Member) -> Peer:
    """Return where and by what key `member` is reached; raises PeerError if it is not."""
    key = member.metadata.get(KEY_METADATA)
    if key is None:
        raise PeerError("its node file has no key: it is no node of this mesh")
    if _KEY.fullmatch(key) is None:
        raise PeerError(f"its key {key[:80]!r} is not a public CURVE key")
    if not member.address.is_dialable:
        raise PeerError(f"its address {str(member.address)[:80]!r} cannot be dialled")
    return Peer(member.cluster_id, key, member.address)
