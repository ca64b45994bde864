"""The store that everything is measured on: SeaweedFS on loopback, filled with node files."""

import asyncio
from typing import Self

from s3discovery import codec
from s3discovery.clock import SystemClock
from s3discovery.credentials import Credentials, FixedCredentials
from s3discovery.demo.seaweedfs import REGION, SeaweedFS
from s3discovery.errors import BucketError
from s3discovery.node import Address, Member, NodeFile
from s3discovery.s3 import S3Bucket
from s3discovery.s3.refusals import Question
from s3discovery.s3.transport import Call, Transport
from s3discovery.s3.wire import Answer
from s3discovery.testing.stores import way_to

BUCKET = "bench"
OWN = Member("own", Address("10.0.0.1", 7800))


class CountingTransport(Transport):
    """The product's transport, which counts: `sent` is how many request heads aiohttp put on the wire,
    retries included, by method; `started_s` when each call began."""

    def open(self) -> None:
        self.sent: dict[str, int] = {}
        self.started_s: list[tuple[str, float]] = []
        super().open()

    async def ask(self, call: Call) -> Answer:
        verb = "LIST" if call.question.verb == "list" and call.method == "GET" else call.method
        self.started_s.append((verb, SystemClock().monotonic_s()))
        try:
            return await super().ask(call)
        finally:
            self.sent[verb] = self.sent.get(verb, 0) + call.sent

    @property
    def requests(self) -> int:
        return sum(self.sent.values())


class MeasuredBucket(S3Bucket):
    """The product's bucket over a counting transport, with the HEAD that the originals begin a poll with."""

    @classmethod
    def at(cls, endpoint: str, credentials: Credentials) -> Self:
        return cls(
            name=BUCKET,
            region=REGION,
            endpoint=endpoint,
            credentials=FixedCredentials(credentials),
            transport=CountingTransport,
        )

    @property
    def wire(self) -> CountingTransport:
        assert isinstance(self._transport, CountingTransport)
        return self._transport

    async def head(self) -> None:
        """HEAD of the bucket; raises BucketError."""
        question = Question("list", self.location, "")
        answer = await self.wire.ask(Call(question, "HEAD", self.location.root))
        if answer.status != 200:
            raise BucketError(f"HEAD was answered with HTTP {answer.status}")


def settings_of(store: SeaweedFS, prefix: str, endpoint: str | None = None, **more: str) -> dict[str, str]:
    """Return the texts of settings for a node in the store; `more` has `_` for `-`."""
    return {
        **way_to(BUCKET, endpoint or store.endpoint, store.credentials),
        "file-prefix": prefix,
        "file-expiration": "6h",
        "update-interval": "3h",
        "poll-interval": "1d",
        **{key.replace("_", "-"): text for key, text in more.items()},
    }


async def fill(store: SeaweedFS, prefix: str, count: int) -> None:
    """Write the files of `count` nodes below `prefix`."""
    written_ms = int(SystemClock().wall_s() * 1000)
    async with MeasuredBucket.at(store.endpoint, store.credentials) as bucket, asyncio.TaskGroup() as tasks:
        for number in range(count):
            cluster_id = f"node-{number:04d}"
            address = Address(f"10.0.{number // 250 + 1}.{number % 250 + 1}", 7800)
            body = codec.encode(NodeFile("1", written_ms, cluster_id, address), "1")
            tasks.create_task(bucket.put(prefix + cluster_id, body))
