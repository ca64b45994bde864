"""The contract of Bucket over every Bucket: in memory, on moto, on SeaweedFS."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from s3discovery.bucket import Bucket
from s3discovery.credentials import FixedCredentials
from s3discovery.s3 import S3Bucket
from s3discovery.testing import BucketContract, FakeClock, MemoryBucket


def connect(server: Any) -> S3Bucket:
    return S3Bucket(
        name=server.new_bucket(),
        region="us-east-1",
        endpoint=server.endpoint,
        credentials=FixedCredentials(server.credentials),
    )


class TestMemoryBucket(BucketContract):
    @pytest.fixture
    def bucket(self) -> Bucket:
        return MemoryBucket(FakeClock())


class TestMoto(BucketContract):
    @pytest.fixture
    async def bucket(self, moto_server: Any) -> AsyncIterator[Bucket]:
        async with connect(moto_server) as bucket:
            yield bucket


class TestSeaweedFS(BucketContract):
    # Tried on 4.48: it collapses "//", drops a leading "/", turns "\" into "/" and refuses "." and "..".
    keeps_odd_keys = False

    @pytest.fixture
    async def bucket(self, seaweedfs: Any) -> AsyncIterator[Bucket]:
        async with connect(seaweedfs) as bucket:
            yield bucket
