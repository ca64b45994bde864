"""When the credentials end is known to status."""

import pytest

from s3discovery.bucket import Expiring
from s3discovery.credentials import Credentials, FixedCredentials
from s3discovery.discovery import Discovery
from s3discovery.s3 import S3Bucket
from s3discovery.settings.kinds import Secret
from s3discovery.testing import FakeClock, MemoryBucket, make_settings

END_S = 1_800_000_000.0


class IssuedBucket(MemoryBucket):
    """A bucket that is reached with credentials which end."""

    credentials_expire_s: float | None = END_S


@pytest.mark.parametrize(("kind", "until_s"), [(MemoryBucket, None), (IssuedBucket, END_S)])
async def test_status_says_until_when_they_last(kind: type[MemoryBucket], until_s: float | None) -> None:
    clock = FakeClock()
    async with Discovery(make_settings(), kind(clock), clock=clock) as discovery:
        assert discovery.status.credentials_until_s == until_s


def test_the_bucket_on_s3_knows_when_it_has_asked() -> None:
    keys = Credentials("AK", Secret("secret"), expires_s=END_S)
    bucket = S3Bucket.from_settings(make_settings(), FixedCredentials(keys))
    assert isinstance(bucket, Expiring)
    assert bucket.credentials_expire_s is None
