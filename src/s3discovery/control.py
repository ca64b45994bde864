"""The node's ear on its own machine: a socket file by which `leave` and `status --here` reach a running node.

One request a connection, a line of JSON each way. Only the user the node runs as, and root, can reach it.
"""

import asyncio
import hashlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from s3discovery.errors import BrokerError, ControlError, DiscoveryError
from s3discovery.observation.documents import is_ready
from s3discovery.observation.moment import Moment
from s3discovery.running import Running
from s3discovery.settings.config import Settings

log = logging.getLogger(__name__)

LEAVE = "leave"
READY = "ready"
_LINE_LIMIT_BYTES = 64 * 1024
_ASK_LIMIT_S = 5.0  # for a request to arrive; how long leaving takes is the broker's


def socket_path(settings: Settings) -> Path:
    """Return where the node of these settings listens: `control-socket`, or a place made from them."""
    if settings.control_socket is not None:
        return Path(settings.control_socket)
    names = (
        settings.endpoint,
        settings.bucket_name,
        settings.file_prefix,
        settings.cluster_id,
        settings.bind_address,
        settings.bind_port,
    )
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:  # nothing can be written to: a container whose root is read-only
        folder = "/tmp"  # noqa: S108 - where it would be; `listening` says what is missing
    return Path(folder) / f"s3discovery-{os.getuid()}" / f"{digest}.sock"


@asynccontextmanager
async def listening(running: Running) -> AsyncIterator[None]:
    """Answer requests for as long as the context is entered; a node that cannot listen goes on without."""
    path = socket_path(running.settings)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError):
            reply = await _carry_out(reader, running)
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        writer.close()

    try:
        await _make_room(path)
        server = await asyncio.start_unix_server(answer, path, limit=_LINE_LIMIT_BYTES)
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    except (OSError, ControlError) as error:
        log.warning(
            "no control socket, `s3discovery leave` will not find this node path=%r error=%s",
            str(path),
            error,
        )
        yield
        return
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def ask_to_leave(path: Path) -> None:
    """Ask the node that listens at `path` to leave its cluster; raises BrokerError if its broker refuses,
    ControlError if there is no such node."""
    refused = (await _ask(path, LEAVE))["error"]
    if refused is not None:
        raise BrokerError(f"the node stays in the cluster: {refused}")


async def ask_why(path: Path) -> str | None:
    """Ask the node that listens at `path` why it is not ready; None if it is.

    Raises ControlError if there is no such node, or it cannot tell."""
    reply = await _ask(path, READY)
    if reply["error"] is not None:
        raise ControlError(f"the node does not tell how it is: {reply['error']}")
    reason = reply.get("reason")
    return None if reason is None else str(reason)


async def _ask(path: Path, wish: str) -> dict[str, Any]:
    """Return the answer, which has `error`; raises ControlError if there is none."""
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_LIMIT_BYTES)
    except OSError as error:
        raise ControlError(
            f"no node of these settings runs here: nobody listens at {str(path)!r} ({error.strerror}); run "
            "this as the user and on the machine of the node, with its settings"
        ) from error
    try:
        writer.write(json.dumps({"do": wish}).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
    except (OSError, ValueError) as error:
        raise ControlError(f"the node ended without an answer: {error}") from error
    finally:
        writer.close()
    try:
        reply = json.loads(line)
    except ValueError:
        reply = None
    if not isinstance(reply, dict) or "error" not in reply:
        raise ControlError("the node ended without an answer; look at its log")
    return reply


async def _carry_out(reader: asyncio.StreamReader, running: Running) -> dict[str, str | None]:
    try:
        async with asyncio.timeout(_ASK_LIMIT_S):
            request = json.loads(await reader.readline())
        wish = request.get("do") if isinstance(request, dict) else None
    except ValueError:
        wish = None
    if wish == READY:
        moment = Moment.of(running.discovery, running.clock, running.cluster_state())
        ready, reason = is_ready(moment, is_node=True)
        return {"error": None, "reason": None if ready else reason}
    if wish != LEAVE or running.leave is None:
        return {"error": f"not understood; the requests are {LEAVE} and {READY}"}
    try:
        await running.leave()
    except DiscoveryError as error:
        return {"error": str(error)}
    return {"error": None}


async def _make_room(path: Path) -> None:
    """Make the folder if it is ours to make, and take away what an ended node left there."""
    if await asyncio.to_thread(_prepare_folder, path):
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except OSError:
            await asyncio.to_thread(path.unlink)
        else:
            writer.close()
            raise ControlError("another node listens there; set control-socket")


def _prepare_folder(path: Path) -> bool:
    """Return whether there is a socket already; the folder is made, and checked if anybody could make it."""
    if not path.parent.exists():
        path.parent.mkdir(mode=stat.S_IRWXU)
    found = path.parent.stat()
    if path.parent.name.startswith("s3discovery-") and found.st_uid != os.getuid():
        raise ControlError(f"{str(path.parent)!r} belongs to somebody else; set control-socket")
    return path.is_socket()
