"""Who may connect: only the keys of current members.

The gate answers ZeroMQ's authentication requests (ZAP, https://rfc.zeromq.org/spec/27). A key that is
not known may be that of a newcomer whose file nobody has read yet: its request is held while the
bucket is looked at, and answered as soon as the members are known.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import zmq

from s3discovery.mesh.rarely import Rarely

log = logging.getLogger(__name__)

DOMAIN: Final = b"s3discovery"
HOLD_S: Final = 0.8  # less than HANDSHAKE_MS of a link, so the answer comes before the caller gives up
_HELD_LIMIT = 64  # requests; strangers must not fill the memory
_ENDPOINT = "inproc://zeromq.zap.01"  # fixed by ZAP; one for each context
_VERSION = b"1.0"
_OK = b"200"
# "Temporary": the caller tries again by itself about every second. 400 would make it give up for ever.
_LATER = b"300"


@dataclass(frozen=True, slots=True)
class _Request:
    """A handshake that waits for its answer."""

    route: bytes
    number: bytes
    address: bytes
    key: str
    since_s: float


class Gate:
    """Answers handshakes; `keys` are those of the current members. Counts the strangers turned away."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], look_now: Callable[[], None]) -> None:
        self.strangers = 0
        self._keys: frozenset[str] = frozenset()
        self._held: list[_Request] = []
        self._look_now = look_now
        self._rarely = Rarely()
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(_ENDPOINT)

    def admit(self, keys: frozenset[str], now_s: float) -> None:
        """Let exactly `keys` in from now on, those whose requests are held included."""
        self._keys = keys
        self.settle(now_s)

    def answer(self, now_s: float) -> None:
        """Answer or hold whatever has been asked."""
        while True:
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            route, _, _, number, _, address, _, mechanism, *credentials = parts
            key = credentials[0].hex() if mechanism == b"CURVE" and credentials else ""
            request = _Request(route, number, address, key, now_s)
            if key in self._keys:
                self._reply(request, _OK)
                continue
            self._look_now()
            if len(self._held) < _HELD_LIMIT:
                self._held.append(request)
            else:
                self._turn_away(request, now_s)

    def settle(self, now_s: float) -> None:
        """Answer the held requests that are known by now, or have waited long enough."""
        waiting = []
        for request in self._held:
            if request.key in self._keys:
                self._reply(request, _OK)
            elif now_s - request.since_s >= HOLD_S:
                self._turn_away(request, now_s)
            else:
                waiting.append(request)
        self._held = waiting

    def _turn_away(self, request: _Request, now_s: float) -> None:
        self._reply(request, _LATER)
        self.strangers += 1
        self._rarely.add()
        if count := self._rarely.due(now_s):
            address = request.address.decode("ascii", "replace")
            log.warning("mesh.stranger count=%s address=%r key=%r", count, address, request.key)

    def _reply(self, request: _Request, status: bytes) -> None:
        # The user id is what every message of the connection carries from here on; the key proves it.
        user_id = request.key.encode() if status == _OK else b""
        parts = [request.route, b"", _VERSION, request.number, status, b"", user_id, b""]
        self.socket.send_multipart(parts, zmq.NOBLOCK)
