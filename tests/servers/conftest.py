"""A store that checks real IAM policies, and issues and revokes keys while it runs."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import boto3
import pytest
import pytest_asyncio
from botocore.config import Config

from s3discovery.credentials import Credentials
from s3discovery.demo.seaweedfs import REGION, SeaweedError, SeaweedFS, find_weed
from s3discovery.settings.config import Secret


class IamStore:
    """A running SeaweedFS whose users may do what an IAM policy says; its methods are for any loop."""

    def __init__(self, server: SeaweedFS) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._iam = boto3.client(
            "iam",
            endpoint_url=server.endpoint,
            region_name=REGION,
            aws_access_key_id=server.access_key_id,
            aws_secret_access_key=server.secret_access_key,
            config=Config(retries={"max_attempts": 0}),
        )
        self.endpoint = server.endpoint
        self.credentials = server.credentials

    async def new_bucket(self) -> str:
        """Make an empty bucket; return its name."""
        name = f"bucket-{next(self._numbers)}"
        await self._server.create_bucket(name)
        return name

    async def new_user(self, policy: Mapping[str, Any]) -> str:
        """Make somebody who may do what `policy` says; return the name."""
        name = f"user-{next(self._numbers)}"
        await asyncio.to_thread(self._iam.create_user, UserName=name)
        await self.allow(name, policy)
        return name

    async def allow(self, user: str, policy: Mapping[str, Any]) -> None:
        """Let `user` do what `policy` says, and nothing else."""
        text = json.dumps(policy)
        await asyncio.to_thread(
            self._iam.put_user_policy, UserName=user, PolicyName="only", PolicyDocument=text
        )

    async def issue(self, user: str) -> Credentials:
        """Return new keys of `user`."""
        answer = await asyncio.to_thread(self._iam.create_access_key, UserName=user)
        key = answer["AccessKey"]
        return Credentials(key["AccessKeyId"], Secret(key["SecretAccessKey"]))

    async def revoke(self, user: str, credentials: Credentials) -> None:
        """Refuse these keys from now on."""
        await asyncio.to_thread(
            self._iam.delete_access_key, UserName=user, AccessKeyId=credentials.access_key_id
        )


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def iam_store(request: pytest.FixtureRequest) -> AsyncIterator[IamStore]:
    """SeaweedFS that takes real IAM policies; in policies it knows wildcards, but not ${*}."""
    try:
        find_weed()
    except SeaweedError:
        request.getfixturevalue("seaweedfs")  # which skips or fails
    async with SeaweedFS(arguments=["-s3.iam.readOnly=false"]) as server:
        yield IamStore(server)
