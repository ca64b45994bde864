"""The interface for programs: health, members, status, events, leaving, service discovery for Prometheus."""

import asyncio
import json
from collections.abc import Callable

from aiohttp import web

from s3discovery.errors import DiscoveryError
from s3discovery.http import openapi
from s3discovery.http.guard import refusal, refused
from s3discovery.http.targets import targets
from s3discovery.http.watching import Watching
from s3discovery.observation.documents import VERSION, is_ready, members_document, status_document
from s3discovery.observation.journal import Event

_HEARTBEAT_S = 10.0  # so that what lies between does not take a silent stream for a dead one
_READERS = 64  # streams of events at a time
_READER_LEAST_S = 300.0  # who has read for so long makes room for another; he comes back where he was
_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
_SNAPSHOT_EVENTS = 100
_NUMBER_LIMIT = 18  # digits of the number in a Last-Event-ID
_PORT_DIGITS = 5


class Api:
    """The handlers; `token` gives the text that is asked for, None if none is; `metrics` renders what
    Prometheus reads: its content type and bytes."""

    def __init__(
        self,
        watching: Watching,
        token: Callable[[], str | None],
        metrics: Callable[[], tuple[str, bytes]] | None = None,
    ) -> None:
        self._watching = watching
        self._token = token
        self._metrics = metrics
        self._readers: list[tuple[web.Request, float]] = []  # and since when; the oldest first

    def routes(self) -> list[web.RouteDef]:
        """Return every route of the interface."""
        routes = [
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/v1/members", self.members),
            web.get("/v1/status", self.status),
            web.get("/v1/events", self.events),
            web.post("/v1/leave", self.leave),
            web.get("/prometheus-sd", self.prometheus_sd),
            web.get("/openapi.json", self.openapi),
        ]
        return [*routes, web.get("/metrics", self.metrics)] if self._metrics is not None else routes

    async def healthz(self, request: web.Request) -> web.Response:
        """Tell that the process lives."""
        return web.json_response({"alive": True})

    async def readyz(self, request: web.Request) -> web.Response:
        """Tell whether the process does its work; 503 if not.

        Why not names nodes, and may hold what a broker said: that is for who may ask the rest as well."""
        moment = self._watching.moment()
        ready, reason = is_ready(moment, is_node=moment.own is not None)
        if not ready and not self._may_ask(request):
            reason = "not ready; why is in the log, and at /v1/status for who may ask it"
        return web.json_response({"ready": ready, "reason": reason}, status=200 if ready else 503)

    async def members(self, request: web.Request) -> web.Response:
        return web.json_response(members_document(self._watching.moment()))

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(status_document(self._watching.moment()))

    async def prometheus_sd(self, request: web.Request) -> web.Response:
        """List the members as targets; `port` puts another port in the place of the cluster transport's.

        503 before the first complete listing: Prometheus keeps the targets that it has."""
        port = request.query.get("port")
        if port is not None and not _is_port(port):
            return refusal(400, "port must be a number from 1 to 65535")
        moment = self._watching.moment()
        if moment.status.listed_s is None:
            return refusal(503, "no complete listing yet, so the members are not known")
        return web.json_response(targets(moment.members, moment.own, None if port is None else int(port)))

    async def leave(self, request: web.Request) -> web.Response:
        """Take the node out of its broker's cluster, and end it; 409 if the broker refuses."""
        leave = self._watching.running.leave
        if leave is None:
            return refusal(409, "this is an observer: there is nothing to leave")
        try:
            await leave()
        except DiscoveryError as error:
            return refusal(409, str(error))
        return web.json_response({"left": True}, status=202)

    async def openapi(self, request: web.Request) -> web.Response:
        return web.json_response(openapi.document(with_metrics=self._metrics is not None))

    async def metrics(self, request: web.Request) -> web.Response:
        content_type, body = self._metrics() if self._metrics is not None else ("text/plain", b"")
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Stream what happens (server-sent events), from after `Last-Event-ID` on if that is still known.

        A new reader is told the members, the status and the last events first, as one event `snapshot`."""
        if request.method == "HEAD":
            return web.Response(headers=_STREAM_HEADERS)
        now_s = asyncio.get_running_loop().time()
        while len(self._readers) >= _READERS:
            oldest, since_s = self._readers[0]
            if now_s - since_s < _READER_LEAST_S:
                return refusal(503, f"{_READERS} streams are open, and none for long; try again later")
            del self._readers[0]
            if oldest.transport is not None:
                oldest.transport.abort()  # he may take no more, nor an end of the stream
        response = web.StreamResponse(headers=_STREAM_HEADERS)
        self._readers.append((request, now_s))
        try:
            await response.prepare(request)
            await self._stream(request, response)
        except OSError:
            pass  # the reader has gone, or took nothing
        finally:
            self._readers = [each for each in self._readers if each[0] is not request]
        return response

    async def _stream(self, request: web.Request, response: web.StreamResponse) -> None:
        """Write what happens for as long as somebody reads who may ask now."""

        async def write(frame: bytes) -> None:
            # Nothing is added while something waits: what has gone out could not be told (connections).
            await response.write(frame)
            await request.writer.drain()

        journal = self._watching.journal
        number = self._number(request.headers.get("Last-Event-ID", request.query.get("last_event_id", "")))
        while not self._watching.is_over and self._may_ask(request):
            news = self._watching.news
            events = journal.since(number) if number is not None else None
            if events is None:
                number = journal.last
                await write(_framed("snapshot", self._id(number), self._snapshot()))
            for event in events or ():
                number = event.number
                await write(_framed(event.kind, self._id(number), _told(event)))
            try:
                async with asyncio.timeout(_HEARTBEAT_S):
                    await news.wait()
            except TimeoutError:
                await write(b": still here\n\n")

    def _may_ask(self, request: web.Request) -> bool:
        """Tell whether the request may ask for what is not open to all; another token may hold by now."""
        return refused(request, self._token()) is None

    def _id(self, number: int) -> str:
        return f"{self._watching.epoch}-{number}"

    def _number(self, last: str) -> int | None:
        """Return the number in a Last-Event-ID; None if it is none of this process, whose ids differ."""
        epoch, _, text = last.rpartition("-")
        if epoch != self._watching.epoch or len(text) > _NUMBER_LIMIT:
            return None
        return int(text) if text.isascii() and text.isdecimal() else None

    def _snapshot(self) -> dict[str, object]:
        moment = self._watching.moment()
        return {
            "version": VERSION,
            "status": status_document(moment),
            "members": members_document(moment),
            "events": [
                {"id": self._id(event.number), "event": event.kind, "data": _told(event)}
                for event in self._watching.journal.recent(_SNAPSHOT_EVENTS)
            ],
        }


def _is_port(text: str) -> bool:
    is_number = text.isascii() and text.isdecimal() and len(text) <= _PORT_DIGITS
    return is_number and 1 <= int(text) <= 65535


def _told(event: Event) -> dict[str, object]:
    return {"at": round(event.wall_s, 3), **event.data}


def _framed(kind: str, event_id: str, data: dict[str, object]) -> bytes:
    # JSON without line breaks: a value from the bucket cannot end the frame.
    return f"id: {event_id}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()
