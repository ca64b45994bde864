"""The store: whether it is one, knows the credentials, has the bucket, and lists the prefix.

One listing answers most of it. Where it is refused, further questions tell apart what one refusal cannot:
the same with the bucket at the other place of the URL, a TLS handshake, the other permissions, and one
question unsigned, to which AWS answers otherwise for a bucket that is missing than for one that is not.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from s3discovery.bucket import Listing
from s3discovery.clock import Clock
from s3discovery.doctor.diagnosis import Asked, diagnose, explain_denial, region_line, said, split_cure
from s3discovery.doctor.faults import report
from s3discovery.doctor.finding import Finding, not_reached, ok
from s3discovery.errors import (
    AccessDeniedError,
    BucketError,
    BucketMissingError,
    CredentialsRejectedError,
    DiscoveryError,
    StoreFaultError,
    UnreachableError,
)
from s3discovery.s3 import S3Bucket
from s3discovery.settings.config import Settings

STEPS = ("store", "clock", "region", "bucket", "list")
_SKEW_S = 5.0  # a Date header has whole seconds, and the answer takes its time
# What a store may answer that looks for the bucket at the other place of the URL.
_MIXED_UP = (BucketMissingError, AccessDeniedError, StoreFaultError, CredentialsRejectedError)

OpenBucket = Callable[[Settings], S3Bucket]


class Store:
    """What the store says; `findings` by check, `listing` once there is one.

    `denied` is set where only more questions can tell whether there is a bucket."""

    def __init__(
        self,
        settings: Settings,
        bucket: S3Bucket,
        open_bucket: OpenBucket,
        asked: Asked,
        speaks_tls: Callable[[], Awaitable[bool]],
        clock: Clock,
    ) -> None:
        self.findings: dict[str, Finding] = {}
        self.listing: Listing | None = None
        self.denied: AccessDeniedError | None = None
        self._settings = settings
        self._bucket = bucket
        self._open_bucket = open_bucket
        self._asked = asked
        self._speaks_tls = speaks_tls
        self._clock = clock

    async def examine(self) -> None:
        """List the prefix, and find out why where that fails."""
        prefix = self._settings.file_prefix
        configured = self._bucket.location.region
        try:
            self.listing = await self._bucket.list(prefix)
        except BucketError as error:
            await self._judge(error)
        except DiscoveryError as error:
            found, cure = split_cure(error)
            self._blame("store", report("no-credentials", found, check="store", cure=cure))
        else:
            self._accept(self.listing.server_time_s)
            found = self._bucket.location.region
            self.findings["region"] = (
                ok("region", found)
                if found == configured
                else report(
                    "region-followed",
                    f"the bucket is in {found}, not in {configured}",
                    line=region_line(self._asked.location, found),
                )
            )
            self.findings["bucket"] = ok("bucket", f"{self._settings.bucket_name!r} exists")
            self.findings["list"] = ok("list", f"{len(self.listing.entries)} objects below {prefix!r}")

    async def decide(self, *, has_any_permission: bool, is_bucket_missing: bool) -> None:
        """Say whether there is a bucket, now that the other permissions are known."""
        if self.denied is None:
            return
        if is_bucket_missing or (not has_any_permission and await self._is_missing()):
            error = BucketMissingError(str(self.denied), status=self.denied.status, code=self.denied.code)
            self._blame("bucket", diagnose(error, self._asked))
            return
        denial = explain_denial(self.denied, "list", self._asked, self._settings.file_prefix)
        if has_any_permission or self._asked.location.is_aws or denial.fault == "explicit-deny":
            self.findings["bucket"] = ok("bucket", f"{self._settings.bucket_name!r} exists")
            self.findings["list"] = denial
        else:
            name = self._settings.bucket_name
            self._blame("bucket", report("bucket-missing-or-denied", said(self.denied), bucket=repr(name)))

    async def _judge(self, error: BucketError) -> None:
        if (otherwise := await self._explain_otherwise(error)) is not None:
            self._blame("store", otherwise)
            return
        if isinstance(error, AccessDeniedError):
            self._accept(error.server_time_s)
            self.findings["region"] = ok("region", self._asked.location.region)
            self.denied = error
            return
        found = diagnose(error, self._asked)
        if found.check != "store":
            self._accept(error.server_time_s)
        self._blame(found.check, found)

    async def _explain_otherwise(self, error: BucketError) -> Finding | None:
        """Ask what the endpoint would answer by TLS, or with the bucket at the other place of the URL."""
        is_no_s3 = isinstance(error, StoreFaultError) and error.code is None and (error.status or 400) < 500
        if is_no_s3 or isinstance(error, UnreachableError):
            by_http = self._asked.location.root.startswith("http:")
            if by_http and await self._speaks_tls():
                return report("port-speaks-tls", str(error))
        if isinstance(error, _MIXED_UP) and await self._answers_otherwise():
            is_path_style = self._asked.location.is_path_style
            return report("needs-virtual-host" if is_path_style else "needs-path-style", said(error))
        return None

    async def _answers_otherwise(self) -> bool:
        location = self._asked.location
        if location.access_point is not None:
            return False
        other = self._open_bucket(replace(self._settings, path_style=not location.is_path_style))
        if other.location.root == location.root:
            return False
        return await _succeeds(other, self._settings.file_prefix)

    async def _is_missing(self) -> bool:
        """Ask unsigned: whoever has no name at all is told, at AWS, that there is no such bucket."""
        stranger = self._open_bucket(replace(self._settings, credentials_type="anonymous"))
        async with stranger as bucket:
            try:
                await bucket.list(self._settings.file_prefix)
            except BucketMissingError:
                return True
            except DiscoveryError:
                return False
        return False

    def _accept(self, server_time_s: float | None) -> None:
        """Note that the store knows the credentials, and what its clock says."""
        self.findings["store"] = ok("store", f"S3 at {self._asked.location.endpoint}")
        if server_time_s is None:
            self.findings["clock"] = ok("clock", "not known: the store sends no Date")
            return
        skew_s = self._clock.wall_s() - server_time_s
        if abs(skew_s) < _SKEW_S:
            self.findings["clock"] = ok("clock", f"within {_SKEW_S:g} s of the store's")
        else:
            direction = "ahead of" if skew_s > 0 else "behind"
            self.findings["clock"] = report(
                "clock-skewed", f"{_duration(abs(skew_s))} {direction} the store's"
            )

    def _blame(self, check: str, found: Finding) -> None:
        """Note the fault, and that what needs the check was not reached."""
        self.findings[check] = found
        for later in STEPS[STEPS.index(check) + 1 :]:
            self.findings[later] = not_reached(later, check)
        if check in ("bucket", "list"):
            self.findings["region"] = ok("region", self._bucket.location.region)
        if check == "list":
            self.findings["bucket"] = ok("bucket", f"{self._settings.bucket_name!r} exists")


async def _succeeds(bucket: AbstractAsyncContextManager[S3Bucket], prefix: str) -> bool:
    async with bucket as entered:
        try:
            await entered.list(prefix)
        except DiscoveryError:
            return False
    return True


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
