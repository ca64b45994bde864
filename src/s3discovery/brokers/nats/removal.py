"""Taking a server out of the meta group for good: a dead one, or this one in good order.

The meta group takes whoever was removed back, but not for 5 minutes. A server that is removed while it runs
throws its part of the meta group away and turns its JetStream off; it is blank when it starts again.
"""

import logging

from s3discovery.brokers.nats import jetstream, replicas
from s3discovery.brokers.nats.access import Access
from s3discovery.brokers.nats.monitoring import Monitor
from s3discovery.brokers.nats.views import Meta
from s3discovery.clock import Clock
from s3discovery.errors import BrokerError

log = logging.getLogger(__name__)

_LIMIT_S = 60.0
_LOOK_EVERY_S = 0.2


class Removal:
    """Removes servers, with the rights of the system account; every method raises BrokerError."""

    def __init__(self, access: Access, monitor: Monitor, clock: Clock) -> None:
        self._access = access
        self._monitor = monitor
        self._clock = clock

    async def remove_dead(self, name: str) -> None:
        """Remove the server of that name or peer id, unless the leader of the meta group still hears it."""
        meta = await self._monitor.meta()
        peer = None if meta is None else meta.find(name)
        if peer is None and (meta is None or meta.leader != name):
            return
        system = self._access.system
        if system is None:
            raise BrokerError(f"dead node {name!r} cannot be removed from NATS: {jetstream.NO_SYSTEM}")
        async with jetstream.connect(self._access, await self._monitor.server(), system) as connection:
            try:
                view = await connection.leaders_view()
            except jetstream.SilentLeaderError as error:
                raise BrokerError(
                    f"dead node {name!r} cannot be removed: JetStream has no leader (more than half of its "
                    f"members must be up), or user {system.user!r} is none of the system account: "
                    f"{jetstream.NO_SYSTEM}"
                ) from error
        seen = view.find(name)
        if seen is not None and not seen.is_silent:
            raise BrokerError(
                f"node {name!r} has no route to here, but JetStream's leader {view.leader!r} hears it; it is "
                "not removed"
            )
        if seen is not None:
            await self.remove(seen.name or name, "" if seen.name else seen.peer)
            await self._lower_copies(max(view.size - 1, 1))

    async def remove(self, name: str, peer: str = "") -> None:
        """Remove the server of that name, or of that peer id where nobody knows the name."""
        system = self._access.system
        if system is None:
            raise BrokerError(f"server {name!r} cannot be removed from NATS: {jetstream.NO_SYSTEM}")
        async with jetstream.connect(self._access, await self._monitor.server(), system) as connection:
            try:
                if not await connection.remove_server(name, peer):
                    log.info("server was no member any more name=%r", name)
            except jetstream.SilentLeaderError as error:
                if not await connection.is_system():
                    raise BrokerError(
                        f"user {system.user!r} is none of the system account; {jetstream.NO_SYSTEM}"
                    ) from error
                raise

    async def remove_self(self, name: str, meta: Meta) -> None:
        """Hand over what only this server has, and have the others remove it."""
        if meta.size < 2:
            raise BrokerError(
                f"{name!r} is the last member: its streams would be lost; stop it, and empty its "
                "store_dir if they are wanted no more"
            )
        deadline_s = self._clock.monotonic_s() + _LIMIT_S
        # Before it goes: with fewer servers than copies, NATS takes no new subscription.
        if meta.size > 2:
            await self._lower_copies(meta.size - 1)
        await self._hand_over_streams(name, deadline_s)
        await self._hand_over_lead(name, deadline_s)
        await self.remove(name)
        while (now := await self._monitor.meta()) is not None and now.includes(name):
            await self._pause(deadline_s, "the others keep this server")
        log.info("left the meta group name=%r", name)
        if meta.size == 2:
            try:
                await self._lower_copies(1)
            except BrokerError as error:  # the one who stays does it, too, a while later
                log.info("copies of streams are left to the other node reason=%s", error)

    async def _lower_copies(self, size: int) -> None:
        """Have no more copies of the MQTT streams than there will be servers."""
        server = await self._monitor.server()
        async with jetstream.connect(self._access, server, self._access.app) as connection:
            for stream in await connection.mqtt_streams():
                if stream.wanted > size:
                    await connection.keep(stream, size)
                    log.info(
                        "copies of a stream changed stream=%r from=%d to=%d", stream.name, stream.wanted, size
                    )

    async def _hand_over_streams(self, name: str, deadline_s: float) -> None:
        server = await self._monitor.server()
        async with jetstream.connect(self._access, server, self._access.app) as connection:
            while lonely := replicas.only_on(await connection.streams(), name):
                for stream in lonely:
                    if not stream.name.startswith(replicas.PREFIX):
                        raise BrokerError(
                            f"stream {stream.name!r} has its only copy on {name!r}; give it more replicas "
                            "first"
                        )
                    if stream.wanted < 2:
                        await connection.keep(stream, 2)
                await self._pause(deadline_s, "streams are not copied to another server")
            while replicas.unsettled_on(await connection.mqtt_streams(), name):
                await self._pause(deadline_s, "the copies of streams are not up to date")

    async def _hand_over_lead(self, name: str, deadline_s: float) -> None:
        """Have another lead the meta group: a leader that removes himself ends without an answer."""
        meta = await self._monitor.meta()
        if meta is None or meta.leader != name:
            return
        if self._access.system is None:
            raise BrokerError(f"{name!r} cannot leave: {jetstream.NO_SYSTEM}")
        server = await self._monitor.server()
        async with jetstream.connect(self._access, server, self._access.system) as connection:
            await connection.step_down()
        while (now := await self._monitor.meta()) is not None and now.leader in ("", name):
            await self._pause(deadline_s, "no other member takes the lead")

    async def _pause(self, deadline_s: float, what: str) -> None:
        if self._clock.monotonic_s() >= deadline_s:
            raise BrokerError(f"cannot leave yet: {what} within {_LIMIT_S:g} s; try again")
        await self._clock.sleep(_LOOK_EVERY_S)
