"""Why a server cannot listen: each reason has its own cure."""

import errno
import os
import socket

import pytest

from s3discovery.network.binding import cure_of


def refusal(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (refusal(errno.EADDRINUSE), "the port is in use; write a free one to b"),
        (
            refusal(errno.EADDRNOTAVAIL),
            "a is not of this machine; write an address that it has, or 0.0.0.0 for all",
        ),
        (
            refusal(errno.EAFNOSUPPORT),
            "a is not of this machine; write an address that it has, or 0.0.0.0 for all",
        ),
        (OSError("none"), "a is not of this machine; write an address that it has, or 0.0.0.0 for all"),
        (
            refusal(errno.EACCES),
            (
                "this user may not listen there; write a port from 1024 on to b, or give the service the "
                "right CAP_NET_BIND_SERVICE"
            ),
        ),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "a does not resolve (Name or service not known); write an address of this machine to it",
        ),
        (refusal(errno.EMFILE), "Too many open files; see to a and b"),
    ],
)
def test_each_reason_has_its_cure(error: OSError, cure: str) -> None:
    assert cure_of(error, address_key="a", port_key="b") == cure


def test_one_key_is_named_once() -> None:
    error = refusal(errno.EMFILE)
    assert cure_of(error, address_key="a", port_key="a") == "Too many open files; see to a"
