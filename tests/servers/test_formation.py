"""First boots over a real store: several nodes race for the claim, and SeaweedFS lets one win."""

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

from s3discovery.clock import SystemClock
from s3discovery.credentials import FixedCredentials
from s3discovery.discovery import Discovery
from s3discovery.driver import Driver
from s3discovery.formation import seed
from s3discovery.formation.claim_object import ClaimObject
from s3discovery.formation.seed import Stage
from s3discovery.node import Address, Member
from s3discovery.s3 import S3Bucket
from s3discovery.settings.claim import claim_key
from s3discovery.testing import FakeClusters, FakeEngine, make_settings

LIMIT_S = 40.0


def connect(seaweedfs: Any, name: str) -> S3Bucket:
    return S3Bucket(
        name=name,
        region="us-east-1",
        endpoint=seaweedfs.endpoint,
        credentials=FixedCredentials(seaweedfs.credentials),
        clock=SystemClock(),
    )


async def start(
    stack: AsyncExitStack, seaweedfs: Any, bucket: str, engine: FakeEngine, size: int
) -> Discovery:
    clock = SystemClock()
    settings = make_settings(
        s3_endpoint=seaweedfs.endpoint,
        s3_bucket_name=bucket,
        min_cluster_size=str(size),
        stable_margin="1s",
        poll_interval="2s",
    )
    store = await stack.enter_async_context(connect(seaweedfs, bucket))
    own = Member(engine.cluster_id, Address("127.0.0.1", 7800))
    await stack.enter_async_context(engine)
    discovery = await stack.enter_async_context(Discovery(settings, store, own, clock=clock))
    task = asyncio.create_task(Driver(discovery, engine, clock).run())
    stack.callback(task.cancel)
    return discovery


def says_formed(discovery: Discovery) -> bool:
    return discovery.own is not None and discovery.own.report.is_formed is True


async def test_five_nodes_form_one_cluster(seaweedfs: Any) -> None:
    clusters, bucket, names = FakeClusters(), seaweedfs.new_bucket(), list("abcde")
    engines = [FakeEngine(clusters, name) for name in names]
    async with AsyncExitStack() as stack:
        nodes = []
        for engine in engines:
            nodes.append(await start(stack, seaweedfs, bucket, engine, len(engines)))
            await asyncio.sleep(random.uniform(0, 0.2))
        async with asyncio.timeout(LIMIT_S):
            while not all(map(says_formed, nodes)):  # noqa: ASYNC110 - the driver sets no event
                await asyncio.sleep(0.1)
        assert {clusters.of(name) for name in names} == {frozenset(names)}
        assert sum(engine.asked.count("found") for engine in engines) == 1
        stored = await nodes[0].bucket.get(claim_key(nodes[0].settings), limit=seed.CLAIM_LIMIT)
        assert seed.decode(stored.body).stage is Stage.FORMED
        assert not any(node.status.problems for node in nodes)


async def test_of_many_claims_at_once_one_is_written(seaweedfs: Any) -> None:
    settings = make_settings(s3_endpoint=seaweedfs.endpoint, s3_bucket_name=seaweedfs.new_bucket())
    async with connect(seaweedfs, settings.bucket_name) as store:
        claims = [
            seed.Claim(f"{number:016x}", seed.Process("1800000000000-0123456789abcdef", f"n{number}"))
            for number in range(8)
        ]
        objects = [ClaimObject(Discovery(settings, store)) for _ in claims]
        await asyncio.gather(*(each.write(claim, None) for each, claim in zip(objects, claims, strict=True)))
        written, etag = await objects[0].read()
        assert written is not None
        assert written.founding in {claim.founding for claim in claims}
        taken = [seed.Claim(f"{number + 100:016x}", claim.owner) for number, claim in enumerate(claims)]
        await asyncio.gather(*(each.write(claim, etag) for each, claim in zip(objects, taken, strict=True)))
        after, _ = await objects[0].read()
        assert after is not None
        winners = [claim.founding for claim in taken if claim.founding == after.founding]
        assert len(winners) == 1
        await objects[0].write(written, etag)
        assert (await objects[0].read())[0] == after
        assert not await objects[0].remove(etag)
