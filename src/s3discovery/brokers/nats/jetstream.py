"""JetStream's administration, asked through a NATS client: copies of streams, members of the meta group.

Requests are NATS's own JSON API; those of the meta group are heard in the system account alone.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from s3discovery.brokers.nats.access import Access
from s3discovery.brokers.nats.login import Login
from s3discovery.brokers.nats.replicas import PREFIX, Copies, read_copies
from s3discovery.brokers.nats.views import Json, Meta, Server, read_meta
from s3discovery.errors import BrokerError

try:
    from nats.aio.client import Client
    from nats.errors import Error, NoRespondersError
except ImportError as error:
    raise BrokerError(
        f"broker:nats needs a package that is missing ({error.name}); run pip install 's3discovery[nats]'"
    ) from error

_LIMIT_S = 5.0
_PAGES_LIMIT = 1000
_NOT_A_MEMBER = 10044  # err_code of JSClusterServerNotMemberErr
NO_SYSTEM = (
    "set nats-system-user and nats-system-password to a user of the system account; nats.conf needs "
    "accounts { SYS { users: [ { user: sys, password: ... } ] } } and system_account: SYS"
)


class SilentLeaderError(BrokerError):
    """Nobody answered a request in time: JetStream has no leader, or the account is the wrong one."""


class JetStream:
    """One connection of one account; every request raises BrokerError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def streams(self) -> list[Copies]:
        """Return all streams of the account."""
        names: list[str] = []
        for _ in range(_PAGES_LIMIT):
            page = await self._ask("$JS.API.STREAM.NAMES", {"offset": len(names)})
            found = [name for name in page.get("streams") or () if isinstance(name, str)]
            names += found
            if not found or len(names) >= int(page.get("total") or 0):
                break
        return [copies for name in names if (copies := await self._stream(name)) is not None]

    async def mqtt_streams(self) -> list[Copies]:
        """Return the streams that MQTT needs; none before the first MQTT client has connected."""
        return [stream for stream in await self.streams() if stream.name.startswith(PREFIX)]

    async def keep(self, stream: Copies, copies: int) -> None:
        """Have so many copies of a stream; NATS makes or drops them in its own time."""
        await self._ask(f"$JS.API.STREAM.UPDATE.{stream.name}", {**stream.config, "num_replicas": copies})

    async def remove_server(self, name: str, peer: str = "") -> bool:
        """Remove a server from the meta group, by `peer` id if given; False if it is no member.

        For the system account, as all about servers."""
        said = await self._request("$JS.API.SERVER.REMOVE", {"peer_id": peer} if peer else {"peer": name})
        problem = said.get("error")
        if isinstance(problem, dict) and problem.get("err_code") == _NOT_A_MEMBER:
            return False
        _check(said, f"the removal of {name!r}")
        return True

    async def step_down(self) -> None:
        """Have the meta group elect another leader."""
        await self._ask("$JS.API.META.LEADER.STEPDOWN", {})

    async def refused_reload(self, server: Server) -> str:
        """Have the server read its configuration again; return why it does not, empty if it does."""
        said = await self._request(f"$SYS.REQ.SERVER.{server.server_id}.RELOAD", {})
        problem = said.get("error")
        return str(problem.get("description"))[:500] if isinstance(problem, dict) else ""

    async def leaders_view(self) -> Meta:
        """Return the meta group as its leader sees it."""
        said = await self._request("$SYS.REQ.SERVER.PING.JSZ", {"leader_only": True})
        meta = read_meta(said["data"]) if isinstance(said.get("data"), dict) else None
        if meta is None or not meta.leader:
            raise SilentLeaderError("JetStream has no leader")
        return meta

    async def is_system(self) -> bool:
        """Tell whether this is the system account."""
        try:
            await self._request("$SYS.REQ.SERVER.PING", {})
        except BrokerError:
            return False
        return True

    async def _stream(self, name: str) -> Copies | None:
        said = await self._request(f"$JS.API.STREAM.INFO.{name}", {})
        return read_copies(said)

    async def _ask(self, subject: str, question: Json) -> Json:
        said = await self._request(subject, question)
        _check(said, subject)
        return said

    async def _request(self, subject: str, question: Json) -> Json:
        try:
            answer = await self._client.request(subject, json.dumps(question).encode(), timeout=_LIMIT_S)
            said: Any = json.loads(answer.data)
        except NoRespondersError as error:
            raise SilentLeaderError(f"nobody answers {subject}: this account has no JetStream") from error
        except (TimeoutError, Error) as error:
            raise SilentLeaderError(
                f"no answer to {subject} within {_LIMIT_S:g} s: JetStream has no leader, or the user may "
                "not ask"
            ) from error
        except ValueError as error:
            raise BrokerError(f"the answer to {subject} is no JSON") from error
        return said if isinstance(said, dict) else {}


@asynccontextmanager
async def connect(access: Access, server: Server, login: Login | None) -> AsyncIterator[JetStream]:
    """Connect to the server as `login`; raises BrokerError with the cause if that fails."""
    url = access.clients_at(server)
    who = f"user {login.user!r}" if login is not None else "nobody in particular"
    client = Client()
    try:
        async with asyncio.timeout(2 * _LIMIT_S):
            await client.connect(
                url,
                user=None if login is None else login.user,
                password=None if login is None else login.password.reveal(),
                tls=access.tls() if url.startswith("tls:") else None,
                name="s3discovery",
                allow_reconnect=False,
                connect_timeout=int(_LIMIT_S),
                error_cb=_be_silent,
            )
    except (Error, OSError) as error:  # a TimeoutError is an OSError
        await _close(client)
        if "authorization" in str(error).lower():
            raise BrokerError(
                f"nats-server at {url} refused {who}: set the user and password that its accounts have "
                "(nats-system-..., nats-app-...)"
            ) from None
        raise BrokerError(
            f"no connection to nats-server at {url}: {str(error) or 'too late'}; check nats-url and "
            "nats-tls-ca"
        ) from error
    try:
        yield JetStream(client)
    finally:
        await _close(client)


async def _close(client: Client) -> None:
    with suppress(Error, OSError):
        await client.close()


async def _be_silent(error: Exception) -> None:
    """What matters is raised where it was asked; nats-py would log a traceback besides."""


def _check(said: Json, what: str) -> None:
    problem = said.get("error")
    if isinstance(problem, dict):
        raise BrokerError(f"NATS refused {what}: {str(problem.get('description'))[:500]!r}")
