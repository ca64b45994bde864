"""Why a server of ours cannot listen where it should, and what to write instead."""

import errno
import socket


def cure_of(error: OSError, *, address_key: str, port_key: str) -> str:
    """Return what is wrong and the cure for it; the keys are those that say where to listen."""
    if isinstance(error, socket.gaierror):
        return f"{address_key} does not resolve ({error.strerror}); write an address of this machine to it"
    # Without a number: asyncio passes over addresses that are not here, and then has none.
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, None):
        return f"{address_key} is not of this machine; write an address that it has, or 0.0.0.0 for all"
    if error.errno == errno.EACCES:
        return (
            f"this user may not listen there; write a port from 1024 on to {port_key}, or give the service "
            "the right CAP_NET_BIND_SERVICE"
        )
    if error.errno == errno.EADDRINUSE:
        return f"the port is in use; write a free one to {port_key}"
    where = address_key if address_key == port_key else f"{address_key} and {port_key}"
    return f"{error.strerror}; see to {where}"
