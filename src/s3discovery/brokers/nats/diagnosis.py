"""Why there is no route to a peer: a cluster port tells who is there before it asks who wants to know."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from s3discovery.brokers.nats.views import Server
from s3discovery.node import Member

_LIMIT_S = 3.0
_LINE_BYTES = 1 << 16


async def why_missing(peer: Member, here: Server) -> str:
    """Return what stands between the server `here` and a peer, and what to do."""
    where = f"{peer.cluster_id!r} at {peer.address}"
    try:
        async with asyncio.timeout(_LIMIT_S):
            said = await _greeting(peer.address.host.strip("[]"), peer.address.port)
    except TimeoutError:
        return f"{where} does not answer; is its cluster port open to this host?"
    except (OSError, UnicodeError) as error:
        return f"{where} cannot be reached: {error}; is it up, and its cluster port open to this host?"
    if said is None:
        return (
            f"what answers for {where} is no cluster port of nats-server; see its bind-port and external-port"
        )
    return explain(where, peer, here, said)


def explain(where: str, peer: Member, here: Server, said: dict[str, Any]) -> str:
    """Return what the greeting of a cluster port means for us."""
    name, cluster = said.get("server_name"), said.get("cluster")
    if said.get("server_id") == here.server_id:
        return f"{where} is this node itself; the external-address of one of them is wrong"
    if name == here.name:
        return f"{where} calls itself {name!r}, as this node does; every server_name must be unique"
    if name != peer.cluster_id:
        return f"{where} calls itself {name!r}; its cluster-id and its server_name must be the same"
    if cluster != here.cluster_name:
        return (
            f"{where} is in the cluster {cluster!r}, this node in {here.cluster_name!r}; write the same name "
            "into the cluster block of both"
        )
    return (
        f"{where} answers, but takes no route; the cluster blocks must agree in authorization "
        "(nats-cluster-user and nats-cluster-password) and tls"
    )


async def _greeting(host: str, port: int) -> dict[str, Any] | None:
    """Return the INFO that a cluster port begins with; None if something else is said."""
    reader, writer = await asyncio.open_connection(host, port, limit=_LINE_BYTES)
    try:
        line = await reader.readline()
    except ValueError:  # a line without end
        return None
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    kind, _, text = line.partition(b" ")
    if kind != b"INFO":
        return None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and "server_name" in said else None
