"""The whole way, in its order: what needs something that failed is not reached, all else goes on.

What does not need one another runs at the same time; what is found is told in the order of the way.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from s3discovery.bucket import Listing
from s3discovery.clock import Clock, SystemClock
from s3discovery.credentials import ANONYMOUS, Credentials, FixedCredentials
from s3discovery.doctor import neighbours
from s3discovery.doctor.configuration import examine_configuration, wrong_settings
from s3discovery.doctor.diagnosis import Asked
from s3discovery.doctor.finding import CHECKS, Finding, Verdict, not_reached
from s3discovery.doctor.identity import examine_credentials, judge_keys, name_account, shorten
from s3discovery.doctor.neighbours import Files
from s3discovery.doctor.permissions import WRITING, Permissions
from s3discovery.doctor.store import STEPS, Store
from s3discovery.doctor.way import Target, Way
from s3discovery.errors import AddressError, BrokerError, DiscoveryError, SettingsError
from s3discovery.network.names import Names
from s3discovery.network.proxies import find_proxy
from s3discovery.own_address import Located, locate_self
from s3discovery.s3 import S3Bucket
from s3discovery.s3.route import Route
from s3discovery.settings.config import Settings
from s3discovery.wiring import Origins

Tell = Callable[[Finding], None]
_OF_THE_BUCKET = (*STEPS, *WRITING, "get")


async def examine(
    origins: Origins, tell: Tell, *, read_only: bool = False, clock: Clock | None = None
) -> tuple[Finding, ...]:
    """Examine everything between these settings and a cluster; `tell` has each finding as it is known.

    `read_only` writes nothing to the bucket. Cancelling takes away what was written."""
    clock = clock or SystemClock()
    protocol = _Protocol(tell)
    settings, found = examine_configuration(origins)
    examination = None
    if settings is not None:
        try:
            examination = _Examination(origins, settings, protocol, clock, read_only=read_only)
        except SettingsError as error:  # a proxy or CA that variables name wrongly
            found = [*(each for each in found if each.verdict is not Verdict.OK), *wrong_settings(error)]
    protocol.note(found)
    if examination is None:
        protocol.give_up("configuration")
    else:
        await examination.run()
    return protocol.findings


class _Protocol:
    """What was found so far; told in the order of `CHECKS`, as soon as all before is known."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._found: dict[str, list[Finding]] = {}
        self._told = 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for check in CHECKS for finding in self._found.get(check, ()))

    def note(self, findings: Iterable[Finding]) -> None:
        """Take findings: all there will be of their checks."""
        order = tuple(CHECKS)
        for finding in findings:
            if finding.check in order[: self._told]:
                raise RuntimeError(f"{finding.check} has been told already")
            self._found.setdefault(finding.check, []).append(finding)
        while self._told < len(order) and (known := self._found.get(order[self._told])) is not None:
            for finding in known:
                self._tell(finding)
            self._told += 1

    def give_up(self, because: str) -> None:
        """Note that what is not known by now was not reached."""
        self.note(not_reached(check, because) for check in CHECKS if check not in self._found)


class _Examination:
    """One examination of valid settings."""

    def __init__(
        self, origins: Origins, settings: Settings, protocol: _Protocol, clock: Clock, *, read_only: bool
    ) -> None:
        self._origins = origins
        self._settings = settings
        self._protocol = protocol
        self._clock = clock
        self._read_only = read_only
        self._listing: Listing | None = None
        self._find_addresses = Names().find
        self._provider = origins.provider(settings, clock)
        self._bucket = self._open_bucket(settings)
        target = Target.of(self._bucket.location)
        self._way = Way(
            target,
            find_proxy(self._bucket.location.root, origins.environ),
            Route(self._bucket.location, origins.environ).make_context(),
            self._find_addresses,
            clock,
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            own = tasks.create_task(self._locate(), name="own address")
            way = tasks.create_task(self._way.examine(), name="way")
            credentials = await self._examine_credentials()
            await way
            self._protocol.note(self._way.findings)
            if credentials is None or not self._way.is_open:
                because = "credentials" if credentials is None else _first_fault(self._way.findings)
                self._protocol.note(
                    not_reached(check, because) for check in CHECKS if check in _OF_THE_BUCKET
                )
                await self._look_around(await own, None, None, because)
                return
            async with self._bucket as bucket:
                await self._examine_store(bucket, credentials, await own)

    async def _locate(self) -> Located | DiscoveryError | None:
        if self._settings.bind_port == 0 and self._settings.external_port is None:
            return None
        try:
            if self._settings.broker == "hivemq":
                return await locate_hivemq(self._settings, self._origins.environ)
            return await locate_self(self._settings, self._origins.environ)
        except (AddressError, BrokerError, SettingsError) as error:
            return error

    async def _examine_credentials(self) -> Credentials | None:
        kind = self._settings.credentials_type
        credentials, found = await examine_credentials(self._provider, kind)
        if credentials is not None and self._bucket.location.is_aws:
            found = await name_account(
                found, credentials, self._origins.environ, self._bucket.location.region, self._clock
            )
        self._protocol.note([found] if credentials is None else judge_keys(found, credentials))
        return credentials

    async def _examine_store(
        self, bucket: S3Bucket, credentials: Credentials, own: Located | DiscoveryError | None
    ) -> None:
        source = credentials.source or self._settings.credentials_type
        asked = Asked(bucket.location, repr(shorten(credentials.access_key_id)), source)
        store = Store(self._settings, bucket, self._open_bucket, asked, self._way.speaks_tls, self._clock)
        await store.examine()
        if store.listing is None and store.denied is None:
            because = _first_fault(store.findings.values())
            self._protocol.note(store.findings.values())
            self._protocol.note(not_reached(check, because) for check in (*WRITING, "get"))
            await self._look_around(own, None, bucket, because)
            return
        if store.denied is None:
            self._protocol.note(store.findings.values())  # at once: nothing more is to be learned of it
        asked = replace(asked, location=bucket.location)
        permissions = await self._examine_permissions(bucket, asked, store.listing)
        if store.denied is not None:
            await store.decide(
                has_any_permission=permissions.has_any, is_bucket_missing=permissions.is_bucket_missing
            )
            self._protocol.note(store.findings.values())
        found = permissions.findings
        if store.findings["bucket"].verdict is Verdict.FAULT:
            found = {check: not_reached(check, "bucket") for check in found}
        self._protocol.note(found.values())
        files, because = await self._read(store, bucket, found)
        await self._look_around(own, files, bucket, because)

    async def _examine_permissions(
        self, bucket: S3Bucket, asked: Asked, listing: Listing | None
    ) -> Permissions:
        prefix, encryption = self._settings.file_prefix, self._encryption
        async with AsyncExitStack() as stack:
            plain = None
            if encryption is not None:
                unencrypted = replace(
                    self._settings,
                    server_side_encryption=None,
                    kms_key_id=None,
                    bucket_key=None,
                    sse_customer_key_file=None,
                )
                plain = await stack.enter_async_context(self._open_bucket(unencrypted))
            permissions = Permissions(bucket, asked, prefix, encryption, plain)
            if self._read_only:
                await permissions.look(listing)
            else:
                await permissions.sweep(listing)
                await permissions.use(listing)
        return permissions

    async def _read(
        self, store: Store, bucket: S3Bucket, permissions: dict[str, Finding]
    ) -> tuple[Files | None, str]:
        """Return the node files, or None and the check that is in the way."""
        if store.listing is None:
            return None, "bucket" if store.findings["bucket"].verdict is Verdict.FAULT else "list"
        if permissions["get"].verdict is not Verdict.OK:
            return None, "get"
        self._listing = store.listing
        return await neighbours.read_files(bucket, self._settings, store.listing), ""

    async def _look_around(
        self, own: Located | DiscoveryError | None, files: Files | None, bucket: S3Bucket | None, because: str
    ) -> None:
        """Examine the own address and the peers, as far as files are known."""
        alive = {} if files is None else files.alive
        self._protocol.note(await neighbours.judge_address(own, self._settings, alive, self._find_addresses))
        if files is None or bucket is None:
            self._protocol.note(not_reached(check, because) for check in ("files", "peers"))
            return
        # Those at the own address are this node itself, whatever its id was.
        address = own.address if isinstance(own, Located) else None
        peers = [
            member
            for member in alive.values()
            if member.cluster_id != self._settings.cluster_id and member.address != address
        ]
        dialled = await neighbours.dial_peers(peers, self._find_addresses, self._clock)
        later = await self._look_again(bucket)
        resource = bucket.location.arn(f"{self._settings.file_prefix}*")
        self._protocol.note(neighbours.judge_files(files, later, resource))
        self._protocol.note([dialled])

    async def _look_again(self, bucket: S3Bucket) -> Files | None:
        """Read what has changed since the first listing."""
        try:
            listing = await bucket.list(self._settings.file_prefix)
        except DiscoveryError:
            return None
        known = set() if self._listing is None else {(row.key, row.etag) for row in self._listing.entries}
        changed = tuple(row for row in listing.entries if (row.key, row.etag) not in known)
        return await neighbours.read_files(bucket, self._settings, replace(listing, entries=changed))

    @property
    def _encryption(self) -> str | None:
        if self._settings.sse_customer_key_file is not None:
            return "SSE-C"
        return self._settings.server_side_encryption

    def _open_bucket(self, settings: Settings) -> S3Bucket:
        """Return the bucket of settings that differ from the own in nothing but the way to it."""
        is_stranger = settings.credentials_type != self._settings.credentials_type
        provider = FixedCredentials(ANONYMOUS) if is_stranger else self._provider
        return S3Bucket.from_settings(settings, provider, self._clock, self._origins.environ)


def _first_fault(findings: Iterable[Finding]) -> str:
    order = {check: place for place, check in enumerate(CHECKS)}
    at_fault = [found.check for found in findings if found.verdict is Verdict.FAULT]
    return min(at_fault, key=lambda check: order[check])


async def locate_hivemq(settings: Settings, environ: Mapping[str, str]) -> Located:
    """Return what peers of a HiveMQ dial: its own configuration says it, where the settings do not.

    Raises as `locate_self` does, SettingsError if that configuration is of no use, and BrokerError if it
    cannot be read, or `java-pid` is nobody's."""
    from s3discovery.brokers.hivemq import Installation

    installation = Installation(settings, environ)
    found = installation.whereabouts()
    if found.host is not None:
        settings = replace(settings, bind_address=found.host)
    located = await locate_self(settings, environ, port=found.port)
    return located if found.host is None else replace(located, origin=str(installation.path))
