import asyncio
from pathlib import Path

import pytest

from s3discovery.config import Secret
from s3discovery.credentials import Credentials, CredentialsProvider, provider_for
from s3discovery.errors import CredentialsError, SettingsError
from s3discovery.testing import make_settings


def configured(kind: str, **environ: str) -> CredentialsProvider:
    return provider_for(make_settings(**{"credentials-type": kind}), environ)


async def test_access_key() -> None:
    values = {"credentials-access-key-id": "AK", "credentials-secret-access-key": "SK"}
    settings = make_settings(**{"credentials-type": "access_key", **values})
    environ = {"AWS_ACCESS_KEY_ID": "OTHER", "AWS_SECRET_ACCESS_KEY": "OTHER"}
    assert await provider_for(settings, environ).credentials() == Credentials("AK", Secret("SK"), None)


async def test_temporary_session() -> None:
    values = {
        "credentials-access-key-id": "AK",
        "credentials-secret-access-key": "SK",
        "credentials-session-token": "ST",
    }
    settings = make_settings(**{"credentials-type": "temporary_session", **values})
    assert await provider_for(settings, {}).credentials() == Credentials("AK", Secret("SK"), Secret("ST"))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK", "AWS_SESSION_TOKEN": "ST"},
            Credentials("AK", Secret("SK"), Secret("ST")),
        ),
        ({"AWS_ACCESS_KEY_ID": " AK ", "AWS_SECRET_ACCESS_KEY": "SK\n"}, Credentials("AK", Secret("SK"))),
        ({"AWS_ACCESS_KEY": "AK", "AWS_SECRET_KEY": "SK"}, Credentials("AK", Secret("SK"))),
        (
            {
                "AWS_ACCESS_KEY_ID": "AK",
                "AWS_ACCESS_KEY": "X",
                "AWS_SECRET_ACCESS_KEY": "SK",
                "AWS_SECRET_KEY": "X",
            },
            Credentials("AK", Secret("SK")),
        ),
    ],
)
async def test_environment_variables(environ: dict[str, str], expected: Credentials) -> None:
    assert await configured("environment_variables", **environ).credentials() == expected


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({}, "AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "AK"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "SK"}, "AWS_ACCESS_KEY_ID"),
    ],
)
async def test_environment_variables_that_are_not_set(environ: dict[str, str], missing: str) -> None:
    with pytest.raises(CredentialsError, match=f"environment_variables, but {missing} is not set"):
        await configured("environment_variables", **environ).credentials()


@pytest.fixture
def aws_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any trace of AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


async def test_default_chain_reads_the_environment(aws_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SK")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "ST")
    assert await configured("default").credentials() == Credentials("AK", Secret("SK"), Secret("ST"))


async def test_default_chain_reads_the_profile_file(aws_home: Path) -> None:
    (aws_home / "credentials").write_text("[default]\naws_access_key_id=AK\naws_secret_access_key=SK\n")
    provider = configured("default")
    assert await provider.credentials() == Credentials("AK", Secret("SK"))
    assert await provider.credentials() == Credentials("AK", Secret("SK"))


async def test_default_chain_fetches_anew_what_expires(aws_home: Path) -> None:
    # A program that gives other keys at every call, which have always nearly expired.
    program = aws_home / "issue"
    program.write_text(
        "#!/bin/sh\n"
        f"sleep 0.2; echo x >> {aws_home}/calls\n"
        f'echo \'{{"Version": 1, "AccessKeyId": "AK\'$(wc -l < {aws_home}/calls)\'",'
        ' "SecretAccessKey": "SK", "SessionToken": "ST",'
        " \"Expiration\": \"'$(date -u -d '+30 seconds' +%Y-%m-%dT%H:%M:%SZ)'\"}'\n"
    )
    program.chmod(0o755)
    (aws_home / "config").write_text(f"[default]\ncredential_process={program}\n")
    provider = configured("default")
    first = await provider.credentials()
    turns = 0
    async with asyncio.TaskGroup() as tasks:
        again = tasks.create_task(provider.credentials())
        while not again.done():
            turns += 1
            await asyncio.sleep(0.01)
    second = again.result()
    assert turns > 3, "the loop stood still meanwhile"
    assert first.access_key_id.startswith("AK")
    assert first.access_key_id != second.access_key_id


async def test_default_chain_that_finds_nothing(aws_home: Path) -> None:
    with pytest.raises(CredentialsError, match=r"credentials-type:default.*AWS_ACCESS_KEY_ID"):
        await configured("default").credentials()


async def test_default_chain_that_fails(aws_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(CredentialsError, match="no-such-profile"):
        await configured("default").credentials()


@pytest.mark.parametrize(
    "kind", ["java_system_properties", "user_credentials_file", "instance_profile_credentials"]
)
def test_type_that_is_not_there_yet(kind: str) -> None:
    with pytest.raises(SettingsError, match=r"not available in this version.*access_key") as caught:
        configured(kind)
    assert caught.value.problems[0].key == "credentials-type"


def test_secrets_never_show() -> None:
    assert "SK" not in repr(Credentials("AK", Secret("SK"), Secret("SK")))
