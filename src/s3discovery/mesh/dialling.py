"""Keeps a link connected to where its peer's name leads.

The name is looked up at first, and again, ever more rarely, while the peer does not answer: it may have
moved. Of several addresses each has its turn.
"""

import asyncio
import ipaddress
import logging
from typing import Final

import zmq

from s3discovery.mesh.link import Link
from s3discovery.network.names import FindAddresses, Found

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 2.0  # longer than a handshake that the peer's gate holds
RETRY_LAST_S: Final = 30.0


async def dial(link: Link, find: FindAddresses) -> None:
    """Connect `link`, whose peer has a name; lasts until it is cancelled."""
    loop = asyncio.get_running_loop()
    pause_s, address, failure = RETRY_FIRST_S, "", ""
    while True:
        if link.is_established(loop.time()):
            pause_s, failure = RETRY_FIRST_S, ""
        else:
            try:
                wanted = turn(await find(link.peer.address.host), address)
                if wanted != address:
                    address = wanted
                    link.connect(ipaddress.ip_address(wanted), loop.time())
                    log.info("mesh.resolved peer=%r address=%s", link.peer.cluster_id, wanted)
            except (OSError, ValueError, zmq.ZMQError) as error:
                # A TimeoutError has no text.
                if (reason := str(error) or "the name servers do not answer") != failure:
                    peer = link.peer
                    log.warning(
                        "mesh.unreachable peer=%r address=%s error=%s", peer.cluster_id, peer.address, reason
                    )
                failure = reason
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, RETRY_LAST_S)


def turn(found: Found, last: str) -> str:
    """Return which of the addresses `found` to try after `last`, which may be none of them.

    Raises ValueError if there is none."""
    if not found:
        raise ValueError("the name has no address")
    return found[(found.index(last) + 1) % len(found)] if last in found else found[0]
