"""The policy that `s3discovery policy` prints, on a store that takes IAM policies as they are: it is enough,
every action is needed, and nothing beyond is allowed."""

import asyncio
import copy
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import boto3
import pytest
from click.testing import CliRunner

from s3discovery import codec
from s3discovery.cli import main
from s3discovery.clock import SystemClock
from s3discovery.credentials import Credentials, FixedCredentials
from s3discovery.discovery import Discovery
from s3discovery.errors import AccessDeniedError, ObjectMissingError
from s3discovery.node import Address, Member, NodeFile
from s3discovery.s3 import S3Bucket
from s3discovery.settings.claim import claim_key
from s3discovery.settings.config import Settings
from s3discovery.testing import make_settings

PREFIX = "cluster/nodes/"
COMMAND = Path(sys.executable).with_name("s3discovery")
LIMIT_S = 25.0


class Store(Protocol):
    """What the fixture `iam_store` gives."""

    endpoint: str
    credentials: Credentials

    async def new_bucket(self) -> str: ...
    async def new_user(self, policy: Mapping[str, Any]) -> str: ...
    async def allow(self, user: str, policy: Mapping[str, Any]) -> None: ...
    async def issue(self, user: str) -> Credentials: ...


class Place:
    """A bucket, and a user who may do in it what the printed policy allows."""

    def __init__(self, store: Store, bucket: str) -> None:
        self.store = store
        self.bucket_name = bucket
        self.texts = {
            "s3-bucket-region": "us-east-1",
            "s3-bucket-name": bucket,
            "file-prefix": PREFIX,
            "file-expiration": "3s",
            "update-interval": "1s",
            "poll-interval": "200ms",
            "s3-endpoint": store.endpoint,
            "bind-address": "10.0.0.1",
            "cluster-id": "own",
        }
        self.user = ""
        self.credentials = store.credentials

    @property
    def options(self) -> list[str]:
        return [word for key, text in self.texts.items() for word in ("-o", f"{key}={text}")]

    def policy(self, *arguments: str) -> dict[str, Any]:
        """Return what the command prints."""
        printed = CliRunner().invoke(main, ["policy", *self.options, *arguments], catch_exceptions=False)
        assert printed.exit_code == 0, printed.output
        found = json.loads(printed.stdout)
        assert isinstance(found, dict)
        return found

    async def may(self, policy: Mapping[str, Any]) -> None:
        """From now on the user may do what `policy` says."""
        await self.store.allow(self.user, policy)

    def settings(self) -> Settings:
        return make_settings(**{key.replace("-", "_"): text for key, text in self.texts.items()})

    def as_user(self) -> S3Bucket:
        return S3Bucket.from_settings(self.settings(), FixedCredentials(self.credentials))

    def as_admin(self) -> S3Bucket:
        return S3Bucket.from_settings(self.settings(), FixedCredentials(self.store.credentials))

    async def call(self, *arguments: str) -> tuple[int | None, str, str]:
        """Run the command as the user; return exit code, standard output and standard error."""
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        keys = {
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key.reveal(),
        }
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            arguments[0],
            *self.options,
            *arguments[1:],
            env={**kept, **keys},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def place(iam_store: Store, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.delenv("S3_FILE_PREFIX", raising=False)
    place = Place(iam_store, await iam_store.new_bucket())
    place.user = await iam_store.new_user(place.policy())
    place.credentials = await iam_store.issue(place.user)
    return place


def body_of(cluster_id: str) -> bytes:
    written_ms = int(SystemClock().wall_s() * 1000)
    return codec.encode(NodeFile("1", written_ms, cluster_id, Address("10.0.0.9", 7800)), "1")


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(LIMIT_S):
            while not await condition():  # noqa: ASYNC110 - the store sets no events
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


def without(policy: Mapping[str, Any], action: str) -> dict[str, Any]:
    """Return the policy with one action less."""
    fewer = copy.deepcopy(dict(policy))
    for statement in fewer["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != action]
    fewer["Statement"] = [statement for statement in fewer["Statement"] if statement["Action"]]
    return fewer


# --- it is enough


async def test_a_node_can_do_all_it_does(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "s3discovery")
    own = Member("own", Address("10.0.0.1", 7800))
    async with place.as_admin() as admin:
        await admin.put(f"{PREFIX}dead", body_of("dead"))

        async def keys() -> set[str]:
            return {entry.key.removeprefix(PREFIX) for entry in (await admin.list(PREFIX)).entries}

        async def modified_s() -> float:
            return (await admin.get(f"{PREFIX}own", limit=1000)).modified_s

        async def is_cleared() -> bool:
            return "dead" not in await keys()

        async with place.as_user() as bucket, Discovery(place.settings(), bucket, own) as discovery:
            assert discovery.status.registered
            assert {member.cluster_id for member in discovery.members} == {"own", "dead"}, "it reads"
            begun_s = await modified_s()

            async def is_refreshed() -> bool:
                return await modified_s() > begun_s

            await until(is_refreshed, "the own file is refreshed")
            await until(is_cleared, "an expired file is cleared")
            status = discovery.status
            assert (status.error, status.write_error, status.read_error) == (None, None, None)
        assert await keys() == set(), "it leaves, and so does what it tried the store with"
    assert [record.getMessage() for record in caplog.records] == []


async def test_those_who_look_can(place: Place) -> None:
    async with place.as_admin() as admin:
        await admin.put(f"{PREFIX}a", body_of("a"))
    await place.may(place.policy("--read-only"))
    code, out, err = await place.call("members", "--format", "json")
    assert (code, err) == (0, "")
    assert [member["cluster_id"] for member in json.loads(out)] == ["a"]
    async with place.as_user() as bucket:
        for refused in (bucket.put(f"{PREFIX}b", b"x"), bucket.delete(f"{PREFIX}a")):
            with pytest.raises(AccessDeniedError):
                await refused


async def test_brokers_with_a_founder_can_keep_their_claim(place: Place) -> None:
    claim = claim_key(place.settings())
    async with place.as_user() as bucket:
        with pytest.raises(AccessDeniedError):
            await bucket.put(claim, b"x")
        place.texts["broker"] = "rabbitmq"
        await place.may(place.policy())
        with pytest.raises(ObjectMissingError):
            await bucket.get(claim, limit=10)
        written = await bucket.put(claim, b"x", if_none_match=True)
        await bucket.put(claim, b"y", if_match=written.etag)
        assert (await bucket.get(claim, limit=10)).body == b"y"
        await bucket.delete(claim)
        await bucket.list(PREFIX)


# --- every action is needed


VERBS = {"s3:ListBucket": "list", "s3:GetObject": "get", "s3:PutObject": "put", "s3:DeleteObject": "delete"}


async def test_the_doctor_finds_nothing_wrong(place: Place) -> None:
    code, out, err = await place.call("doctor", "--format", "json", "--strict")
    assert (code, err) == (0, "")
    assert json.loads(out)["verdict"] == "ok"


@pytest.mark.parametrize("action", VERBS)
async def test_the_doctor_names_an_action_that_is_missing(place: Place, action: str) -> None:
    policy = place.policy()
    granted = [each for statement in policy["Statement"] for each in statement["Action"]]
    assert sorted(granted) == sorted(VERBS), "an action without a test"
    await place.may(without(policy, action))
    code, out, err = await place.call("doctor", "--format", "json")
    assert (code, err) == (1, "")
    faults = {each["check"]: each for each in json.loads(out)["findings"] if each["verdict"] == "fault"}
    assert set(faults) == {VERBS[action]}
    assert action in faults[VERBS[action]]["cure"]


# --- nothing beyond is allowed


@pytest.mark.parametrize("prefix", ["", "cluster/", "cluster/nodes", "other/"])
async def test_other_prefixes_cannot_be_listed(place: Place, prefix: str) -> None:
    async with place.as_user() as bucket:
        await bucket.list(PREFIX)
        with pytest.raises(AccessDeniedError):
            await bucket.list(prefix)


async def test_other_keys_cannot_be_touched(place: Place) -> None:
    async with place.as_admin() as admin, place.as_user() as bucket:
        await admin.put("cluster/other", b"x")
        for refused in (
            bucket.get("cluster/other", limit=10),
            bucket.put("cluster/other", b"y"),
            bucket.delete("cluster/other"),
        ):
            with pytest.raises(AccessDeniedError):
                await refused
        assert (await admin.get("cluster/other", limit=10)).body == b"x"


# --- AWS's own formats, as moto checks them


class Moto(Protocol):
    """What the fixture `moto_server` gives."""

    endpoint: str
    access_key_id: str
    secret_access_key: str

    def new_bucket(self) -> str: ...


def client(server: Moto, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
    )


def printed(*arguments: str, **texts: str) -> str:
    settings = {"s3-bucket-region": "us-east-1", "file-expiration": "6h", "update-interval": "3h"}
    settings |= {key.replace("_", "-"): text for key, text in texts.items()}
    words = [word for key, text in settings.items() for word in ("-o", f"{key}={text}")]
    result = CliRunner().invoke(main, ["policy", *words, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_policy_is_one_for_iam(moto_server: Moto) -> None:
    kms = {"server_side_encryption": "aws:kms", "kms_key_id": "alias/mqtt", "acl": "private"}
    document = printed(s3_bucket_name="mesh", file_prefix="a*?${b}/", **kms)
    iam = client(moto_server, "iam")
    arn = iam.create_policy(PolicyName="nodes", PolicyDocument=document)["Policy"]["Arn"]
    kept = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"]
    assert kept == json.loads(document)


@pytest.mark.parametrize("tags", ["", "team=iot,stage=prod"])
def test_the_rule_is_one_for_s3(moto_server: Moto, tags: str) -> None:
    bucket = moto_server.new_bucket()
    document = json.loads(printed("--lifecycle", s3_bucket_name=bucket, file_prefix=PREFIX, object_tags=tags))
    s3 = client(moto_server, "s3")
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=document)
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule == document["Rules"][0]
