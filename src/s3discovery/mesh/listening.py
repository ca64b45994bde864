"""Where a node listens for its peers, and what a caller may cost before it has shown who it is."""

import ipaddress
from typing import Final

import zmq

from s3discovery.errors import AddressError, BrokerError
from s3discovery.mesh.gate import DOMAIN
from s3discovery.mesh.link import HEARTBEAT_MS, KeyPair
from s3discovery.mesh.peer import endpoint_of
from s3discovery.mesh.wire import FRAME_LIMIT_BYTES
from s3discovery.network.names import FindAddresses
from s3discovery.node import Address

# A caller that has not shown its key by then is let go: longer than the gate holds one and a link tries.
HANDSHAKE_LIMIT_MS: Final = 2500
_ENCRYPTION_BYTES = 256  # what CURVE adds to a frame (33), and to spare


async def listen(
    listener: "zmq.Socket[bytes]", bind: tuple[str, int], keys: KeyPair, find: FindAddresses
) -> int:
    """Bind `listener` to host and port (nothing and 0: all and any); return the port.

    Raises BrokerError where that cannot be listened at."""
    host, port = bind
    is_ipv6, endpoint = await _endpoint(host, port, find)
    listener.ipv6 = is_ipv6
    listener.curve_server = True
    listener.curve_secretkey = keys.secret
    listener.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
    listener.heartbeat_ivl = HEARTBEAT_MS
    listener.heartbeat_timeout = HEARTBEAT_MS
    # ZeroMQ takes in frames of this size from callers it knows nothing of yet.
    listener.maxmsgsize = FRAME_LIMIT_BYTES + _ENCRYPTION_BYTES
    listener.handshake_ivl = HANDSHAKE_LIMIT_MS
    try:
        listener.bind(endpoint)
    except zmq.ZMQError as error:
        where = f"{host or '*'}:{port}"
        raise BrokerError(
            f"cannot listen at {where}: {error.strerror}; "
            "stop what holds it, or set another bind-address or bind-port"
        ) from error
    return int(listener.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


async def _endpoint(host: str, port: int, find: FindAddresses) -> tuple[bool, str]:
    """Return whether to listen with IPv6, and the endpoint."""
    suffix = port or "*"
    if not host:
        return True, f"tcp://*:{suffix}"  # IPv6 takes IPv4 in; ZeroMQ falls back where there is none
    try:
        ip = Address(host, port or 1).ip
    except AddressError as error:
        raise BrokerError(f"bind-address is wrong: {error}") from error
    if ip is None:
        ip = ipaddress.ip_address(await _resolve(host, find))
    return ip.version == 6, endpoint_of(ip, suffix)


async def _resolve(host: str, find: FindAddresses) -> str:
    try:
        return (await find(host))[0]
    except OSError as error:
        reason = str(error) or "the name servers do not answer"
        raise BrokerError(f"bind-address {host!r} has no address: {reason}; give an IP address") from error
