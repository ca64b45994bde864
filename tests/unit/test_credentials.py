"""Which source a type takes, and what each says when it has none; nothing here opens a socket."""

import asyncio
import errno
import itertools
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest

from s3discovery.credentials import Credentials, CredentialsProvider, EnvironmentCredentials, provider_for
from s3discovery.credentials.choice import _MAKERS, Place
from s3discovery.credentials.default import DefaultCredentials
from s3discovery.credentials.files import LIMIT_BYTES, WatchedFile
from s3discovery.credentials.http import shown_place
from s3discovery.credentials.java_properties import JavaCredentials
from s3discovery.credentials.process import CredentialProcess
from s3discovery.credentials.profiles import (
    FileCredentials,
    credentials_path,
    merged_profile,
    profile_name,
    read_profiles,
)
from s3discovery.errors import CredentialsError, SettingsError
from s3discovery.settings.config import CREDENTIALS_TYPES, Secret, Settings
from s3discovery.testing import FakeClock, make_settings

MARK = "M4RKED"
KEYS = Credentials("AK", Secret("SK"))


def configured(kind: str, environ: Mapping[str, str], **values: str) -> CredentialsProvider:
    return provider_for(make_settings(credentials_type=kind, **values), environ)


def test_every_type_has_a_maker() -> None:
    assert set(_MAKERS) == set(CREDENTIALS_TYPES)


# --- settings


async def test_access_key() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "OTHER", "AWS_SECRET_ACCESS_KEY": "OTHER"}
    provider = configured(
        "access_key",
        environ,
        credentials_access_key_id="AK",
        credentials_secret_access_key="SK",
        credentials_session_token="NOT-OF-THIS-TYPE",
    )
    assert await provider.credentials() == KEYS


async def test_temporary_session() -> None:
    provider = configured(
        "temporary_session",
        {},
        credentials_access_key_id="AK",
        credentials_secret_access_key="SK",
        credentials_session_token="ST",
    )
    assert await provider.credentials() == Credentials("AK", Secret("SK"), Secret("ST"))


async def test_mounted_secrets_are_read_again_when_they_change(tmp_path: Path) -> None:
    secret, token = tmp_path / "secret", tmp_path / "token"
    secret.write_text("SK1\n")
    token.write_text("ST1")
    provider = configured(
        "temporary_session",
        {},
        credentials_access_key_id="AK",
        credentials_secret_access_key_file=str(secret),
        credentials_session_token_file=str(token),
    )
    assert await provider.credentials() == Credentials("AK", Secret("SK1"), Secret("ST1"))
    # As Kubernetes does it: another file takes the name, of the same size and, it may be, time.
    times = (secret.stat().st_atime_ns, secret.stat().st_mtime_ns)
    (tmp_path / "next").write_text("SK2\n")
    os.utime(tmp_path / "next", ns=times)
    (tmp_path / "next").replace(secret)
    assert await provider.credentials() == Credentials("AK", Secret("SK2"), Secret("ST1"))
    secret.write_text("\n")
    with pytest.raises(CredentialsError, match=r"credentials-secret-access-key-file .*is empty"):
        await provider.credentials()
    secret.unlink()
    with pytest.raises(CredentialsError, match=r"credentials-secret-access-key-file .*does not exist"):
        await provider.credentials()


def test_what_is_missing_is_a_wrong_setting() -> None:
    made_otherwise = make_settings(credentials_type="default")
    for kind, key in (("access_key", "credentials-access-key-id"), ("assume_role", "credentials-role-arn")):
        with pytest.raises(SettingsError) as caught:
            _MAKERS[kind](place_of(made_otherwise))
        assert caught.value.problems[0].key == key


def place_of(settings: Settings) -> Place:
    return Place(settings, {}, (), FakeClock())


# --- environment


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK", "AWS_SESSION_TOKEN": "ST"},
            Credentials("AK", Secret("SK"), Secret("ST")),
        ),
        ({"AWS_ACCESS_KEY_ID": " AK ", "AWS_SECRET_ACCESS_KEY": "SK\n"}, KEYS),
        ({"AWS_ACCESS_KEY": "AK", "AWS_SECRET_KEY": "SK"}, KEYS),
        (
            {
                "AWS_ACCESS_KEY_ID": "AK",
                "AWS_ACCESS_KEY": "X",
                "AWS_SECRET_ACCESS_KEY": "SK",
                "AWS_SECRET_KEY": "X",
            },
            KEYS,
        ),
    ],
)
async def test_environment_variables(environ: dict[str, str], expected: Credentials) -> None:
    assert await configured("environment_variables", environ).credentials() == expected


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({}, "AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "AK"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "SK"}, "AWS_ACCESS_KEY_ID"),
    ],
)
async def test_environment_variables_that_are_not_set(environ: dict[str, str], missing: str) -> None:
    with pytest.raises(CredentialsError, match=f"environment variables: {missing} is not set; set it"):
        await configured("environment_variables", environ).credentials()


# --- Java

JAVA = "-Daws.accessKeyId=AK -Daws.secretKey=SK"


@pytest.mark.parametrize("variable", ["JAVA_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "HIVEMQ_OPTS"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"-Xmx1g {JAVA}", KEYS),
        ("-Daws.accessKeyId=AK -Daws.secretAccessKey=SK", KEYS),
        ("-Daws.accessKeyId=AK -Daws.secretKey=SK -Daws.secretAccessKey=X", KEYS),
        (
            "'-Daws.accessKeyId=AK' -Daws.secretKey=\"S/+K\"",
            Credentials("AK", Secret("S/+K")),
        ),
        (f"{JAVA} -Daws.sessionToken='ST=='", Credentials("AK", Secret("SK"), Secret("ST=="))),
    ],
)
async def test_java_system_properties(variable: str, text: str, expected: Credentials) -> None:
    assert await configured("java_system_properties", {variable: text}).credentials() == expected


async def test_our_own_command_line_wins() -> None:
    settings = make_settings(credentials_type="java_system_properties")
    arguments = ["-Daws.accessKeyId=AK", "aws.secretKey=SK"]
    environ = {"HIVEMQ_OPTS": "-Daws.accessKeyId=X -Daws.secretKey=X"}
    assert await provider_for(settings, environ, java_arguments=arguments).credentials() == KEYS


async def test_a_running_jvm_alone() -> None:
    asked: list[int] = []

    def of_jvm(pid: int) -> dict[str, str]:
        asked.append(pid)
        if len(asked) == 1:
            raise ProcessLookupError(3, "No such process")
        return {"aws.accessKeyId": "AK", "aws.secretKey": "SK"}

    provider = JavaCredentials(
        ["-Daws.accessKeyId=X"], {"JAVA_OPTS": "-Daws.secretKey=X -Daws.sessionToken=X"}, 7, of_jvm=of_jvm
    )
    with pytest.raises(CredentialsError, match="process 7: No such process; set java-pid"):
        await provider.credentials()
    for _ in range(2):  # and never again: the JVM may end before we do
        assert await provider.credentials() == KEYS
    assert asked == [7, 7]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, r"aws.accessKeyId is not set; write -D.*command line of s3discovery, or in .*HIVEMQ_OPTS"),
        ({"JAVA_OPTS": "-Daws.accessKeyId=AK"}, r"aws.secretKey or aws.secretAccessKey is not set"),
        ({"JAVA_OPTS": f"-Daws.secretKey='{MARK}"}, r"JAVA_OPTS: close its quote"),
    ],
)
async def test_java_system_properties_that_are_not_set(environ: dict[str, str], message: str) -> None:
    with pytest.raises(CredentialsError, match=message) as caught:
        await configured("java_system_properties", environ).credentials()
    assert MARK not in shown(caught.value)


# --- the credentials file


def test_where_the_credentials_file_is() -> None:
    given = {
        "AWS_CREDENTIAL_PROFILE_FILE": "/1",
        "AWS_CREDENTIAL_PROFILES_FILE": "/2",
        "AWS_SHARED_CREDENTIALS_FILE": "~/3",
        "HOME": "/h",
    }
    found = []
    while len(given) > 0:
        found.append(str(credentials_path(given)))
        given.pop(next(iter(given)))
    assert found[:4] == ["/1", "/2", "/h/3", "/h/.aws/credentials"]


def test_which_profile() -> None:
    environ = {"AWS_PROFILE": "p", "AWS_DEFAULT_PROFILE": "d"}
    assert profile_name("s", environ) == "s"
    assert profile_name(None, environ) == "p"
    assert profile_name(None, {"AWS_DEFAULT_PROFILE": "d"}) == "d"
    assert profile_name(None, {}) == "default"


def test_sections_of_both_files() -> None:
    text = '[default]\na=1\n# x\n[profile p]\na = 2=3%\n[profile "q r"]\nA: 4\ns3 =\n  x = 1\n[plain]\n'
    assert read_profiles(text, "x") == {
        "default": {"a": "1"},
        "p": {"a": "2=3%"},
        "q r": {"a": "4", "s3": "\nx = 1"},
        "plain": {},
    }


async def test_user_credentials_file(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id=AK\naws_secret_access_key=SK\n"
        "[other]\naws_access_key_id = AK2\naws_secret_access_key = S+/=K2\naws_session_token=ST\n"
    )
    environ = {
        "AWS_CREDENTIAL_PROFILE_FILE": str(file),
        "AWS_ACCESS_KEY_ID": "X",
        "AWS_SECRET_ACCESS_KEY": "X",
    }
    other = Credentials("AK2", Secret("S+/=K2"), Secret("ST"))
    assert await configured("user_credentials_file", environ).credentials() == KEYS
    assert (
        await configured("user_credentials_file", environ | {"AWS_PROFILE": "other"}).credentials() == other
    )
    assert (
        await configured("user_credentials_file", environ, credentials_profile="other").credentials() == other
    )


async def test_a_rotated_file_is_picked_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "credentials"
    provider = FileCredentials(file, "default")
    for number in ("1", "2", "3"):
        file.write_text(
            f"[default]\naws_access_key_id=AK{number}\naws_secret_access_key=SK-{'x' * int(number)}\n"
        )
        assert (await provider.credentials()).access_key_id == f"AK{number}"
    for broken in (f"[default]\naws_access_key_id={MARK}\n", f"{MARK}", "[default]\n"):
        file.write_text(broken)
        assert (await provider.credentials()).access_key_id == "AK3", "caught while it is rewritten"
    file.unlink()
    assert (await provider.credentials()).access_key_id == "AK3"
    assert len([record for record in caplog.records if "not read again" in record.getMessage()]) == 1
    assert MARK not in caplog.text
    file.write_text("[default]\naws_access_key_id=AK4\naws_secret_access_key=SK\n")
    assert (await provider.credentials()).access_key_id == "AK4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"credentials file .* does not exist"),
        ("", r"has no profile 'default' \(it has none\)"),
        ("[a]\n[b]\n", r"has no profile 'default' \(it has 'a', 'b'\)"),
        (f"{MARK}=x\n", r"line 1: write a section"),
        (f"[default]\nx=1\n{MARK}\n", r"line 3: write name=value"),
        (f"[default]\naws_secret_access_key={MARK}\n", r"aws_access_key_id is missing"),
        ("[default]\naws_access_key_id=AK\n", r"aws_secret_access_key is missing"),
        ("[default]\ncredential_process=x\n", r"credentials-type:process"),
        ("[default]\nrole_arn=x\nsource_profile=y\n", r"credentials-type:assume_role"),
        ("[default]\nrole_arn=x\nweb_identity_token_file=y\n", r"credentials-type:web_identity"),
        ("[default]\nsso_session=x\n", r"credentials-type:sso"),
        (
            f"[default]\naws_access_key_id=AK\naws_secret_access_key={MARK} x\n",
            r"the secret access key is not",
        ),
    ],
)
async def test_a_file_without_keys_says_why(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    if text is not None:
        file.write_text(text)
    with pytest.raises(CredentialsError, match=message) as caught:
        await FileCredentials(file, "default").credentials()
    assert MARK not in shown(caught.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (LIMIT_BYTES + 1))
    (tmp_path / "binary").write_bytes(MARK.encode() + b"\xff")
    for name, message in (("large", "is over"), ("binary", "is no UTF-8"), ("", "cannot be read")):
        with pytest.raises(CredentialsError, match=message) as caught:
            WatchedFile(tmp_path / name, "credentials file").read()
        assert MARK not in shown(caught.value)


# --- a program


def write_program(folder: Path, script: str) -> dict[str, str]:
    """Write a shell script as the credential_process of profile default; return the environment."""
    program = folder / "issue keys"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (folder / "config").write_text(f"[default]\ncredential_process='{program}' --for \"a b\"\n")
    return {
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        "PATH": os.environ["PATH"],
    }


def printed(until: str) -> str:
    keys = {"Version": 1, "AccessKeyId": "AK", "SecretAccessKey": "SK", "SessionToken": "ST"}
    return f"echo '{json.dumps(keys | {'Expiration': until})}'"


async def test_a_program_is_run_without_a_shell(tmp_path: Path) -> None:
    script = f"[ \"$2\" = 'a b' ] && {printed('2099-01-02T03:04:05Z')}"
    found = await configured("process", write_program(tmp_path, script)).credentials()
    assert found == Credentials("AK", Secret("SK"), Secret("ST"), 4071006245.0)
    assert found.source == "process of profile 'default'"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (f"echo {MARK} >&2; exit 3", r"exit code 3; run it by hand"),
        (f"echo {MARK}", r"no JSON object"),
        (f'echo \'{{"Version": 2, "SecretAccessKey": "{MARK}"}}\'', r"Version is not 1"),
        (f'echo \'{{"Version": 1, "SecretAccessKey": "{MARK}"}}\'', r"no AccessKeyId"),
        (printed(MARK), r"Expiration cannot be read"),
        (printed("2001-01-01T00:00:00Z"), r"ended at 2001-01-01T00:00:00Z"),
        ("head -c 1000000 /dev/zero", r"prints more than"),
    ],
)
async def test_a_program_that_fails_says_why(script: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=message) as caught:
        await configured("process", write_program(tmp_path, script)).credentials()
    assert MARK not in shown(caught.value)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    environ = write_program(tmp_path, "")
    (tmp_path / "config").write_text("[default]\ncredential_process=/no/such/program\n")
    with pytest.raises(CredentialsError, match="'/no/such/program': No such file"):
        await configured("process", environ).credentials()
    (tmp_path / "config").write_text("[default]\nregion=x\n")
    with pytest.raises(CredentialsError, match="no credential_process"):
        await configured("process", environ).credentials()


async def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    environ = write_program(tmp_path, f"echo $$ > '{tmp_path}/pid'; exec sleep 60")
    issue = asyncio.create_task(CredentialProcess(environ, "default").issue())
    async with asyncio.timeout(10):
        while not (pid := read_pid(tmp_path)):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    issue.cancel()
    with pytest.raises(asyncio.CancelledError):
        await issue
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def read_pid(folder: Path) -> int | None:
    file = folder / "pid"
    text = file.read_text() if file.exists() else ""
    return int(text) if text.endswith("\n") else None


# --- default


class Source:
    """A source that has keys, or not; counts how often it is asked."""

    def __init__(self, name: str, *, has_any: bool) -> None:
        self.name = name
        self.has_any = has_any
        self.asked = 0

    async def credentials(self) -> Credentials:
        self.asked += 1
        if not self.has_any:
            raise CredentialsError(f"{self.name}: nothing")
        return Credentials(self.name, Secret("SK"), source=self.name)


@pytest.mark.parametrize("having", [*itertools.product([False, True], repeat=4)])
async def test_default_takes_the_first_that_has_any(having: tuple[bool, ...]) -> None:
    sources = [Source(str(place), has_any=has_any) for place, has_any in enumerate(having)]
    provider = DefaultCredentials(sources)
    if not any(having):
        with pytest.raises(CredentialsError, match=r"0: nothing\n.*1: nothing\n.*2: nothing\n.*3: nothing"):
            await provider.credentials()
        return
    first = having.index(True)
    assert (await provider.credentials()).access_key_id == str(first)
    assert [source.asked for source in sources] == [1] * (first + 1) + [0] * (3 - first)


async def test_default_stays_with_the_source_it_has_found() -> None:
    sources = [Source("0", has_any=False), Source("1", has_any=True), Source("2", has_any=True)]
    provider = DefaultCredentials(sources)
    assert (await provider.credentials()).access_key_id == "1"
    sources[0].has_any, sources[1].has_any = True, False
    with pytest.raises(CredentialsError, match="1: nothing"):
        await provider.credentials()


async def test_default_is_asked_once_by_many() -> None:
    sources = [Source("0", has_any=False), Source("1", has_any=True)]
    provider = DefaultCredentials(sources)
    await asyncio.gather(*(provider.credentials() for _ in range(5)))
    assert sources[0].asked == 1


@pytest.mark.parametrize("kind", ["environment", "java", "file"])
async def test_default_in_the_order_of_the_original(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id=file\naws_secret_access_key=SK\n")
    environ = {
        "AWS_ACCESS_KEY_ID": "environment",
        "AWS_SECRET_ACCESS_KEY": "SK",
        "JAVA_OPTS": "-Daws.accessKeyId=java -Daws.secretKey=SK",
        "AWS_SHARED_CREDENTIALS_FILE": str(file),
    }
    if kind != "environment":
        del environ["AWS_SECRET_ACCESS_KEY"]  # half a pair is none
    if kind == "file":
        del environ["JAVA_OPTS"]
    assert (await configured("default", environ).credentials()).access_key_id == kind


# --- anonymous, and what never shows


async def test_anonymous() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "X", "AWS_SECRET_ACCESS_KEY": "X"}
    assert (await configured("anonymous", environ).credentials()).is_anonymous
    assert not KEYS.is_anonymous


@pytest.mark.parametrize("value", [f"{MARK} x", f"{MARK}\r\nX-Evil: 1", f"{MARK}é"])
async def test_what_no_header_can_hold_is_refused_without_showing_it(value: str) -> None:
    good = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK", "AWS_SESSION_TOKEN": "ST"}
    for name in good:
        with pytest.raises(CredentialsError, match="is not one; it must be printable") as caught:
            await EnvironmentCredentials(good | {name: value}).credentials()
        assert MARK not in shown(caught.value)


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


def test_secrets_never_show() -> None:
    assert MARK not in repr(Credentials("AK", Secret(MARK), Secret(MARK)))
    assert MARK not in repr(place_of(make_settings(credentials_external_id="ab")))


PROBE = """
import asyncio, sys
from s3discovery.credentials import provider_for
from s3discovery.errors import CredentialsError
from s3discovery.testing import make_settings
async def main():
    values = {"credentials_type": sys.argv[1], "credentials_access_key_id": "A",
              "credentials_secret_access_key": "S", "credentials_session_token": "T",
              "credentials_role_arn": "arn:aws:iam::1:role/x", "credentials_source": "environment_variables"}
    environ = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S", "HOME": "/nonexistent",
               "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1",
               "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/x",
               "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1", "AWS_WEB_IDENTITY_TOKEN_FILE": "/dev/null"}
    try:
        await provider_for(make_settings(**values), environ).credentials()
    except CredentialsError as error:
        print(error)
asyncio.run(main())
sys.exit("botocore.session" in sys.modules or "boto3" in sys.modules)
"""


@pytest.mark.parametrize("kind", [kind for kind in CREDENTIALS_TYPES if kind != "sso"])
def test_the_sdk_is_not_loaded(kind: str) -> None:
    ended = subprocess.run([sys.executable, "-c", PROBE, kind], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


# --- what a message may show of the environment


async def test_a_profile_file_that_cannot_be_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    long = str(tmp_path / ("x" * 300))
    if sys.version_info < (3, 14):  # later ones say that there is no such file
        with pytest.raises(CredentialsError, match=r"config file '.*xxx' cannot be read .*; name another"):
            WatchedFile(Path(long), "config file").exists()
    monkeypatch.setattr(Path, "exists", refuse)
    environ = {"AWS_CONFIG_FILE": "/locked/config", "HOME": str(tmp_path)}
    with pytest.raises(
        CredentialsError, match=r"'/locked/config' cannot be read .*; give this user the right"
    ):
        merged_profile(environ, "default")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize("url", ["http://[bad", "http://sts:99999", "sts.example", f"http://u:{MARK}@[bad"])
def test_an_endpoint_of_sts_that_is_no_url(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name}.*: write a URL such as https://sts") as caught:
        configured("web_identity", {name: url})
    assert MARK not in shown(caught.value)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"http://user:{MARK}@host:81/{MARK}?{MARK}", "host:81"),
        (f"https://{MARK}@host", "host"),
        (f"http://u:{MARK}@[::1]:80/", "[::1]:80"),
        (f"http://u:{MARK}@[bad", "an address that is no URL"),
        (f"http://u:{MARK}@host:99999", "an address that is no URL"),
        (MARK, "an address that is no URL"),
    ],
)
def test_what_is_shown_of_an_address(url: str, place: str) -> None:
    assert shown_place(url) == place


@pytest.mark.parametrize(
    ("kind", "environ"),
    [
        ("instance_profile_credentials", {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://u:{MARK}@[bad"}),
        (
            "instance_profile_credentials",
            {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://u:{MARK}@host:99999"},
        ),
        ("container", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"https://u:{MARK}@host:99999/"}),
    ],
)
async def test_a_password_in_an_address_does_not_show(kind: str, environ: dict[str, str]) -> None:
    with pytest.raises(CredentialsError, match="an address that is no URL") as caught:
        await configured(kind, environ).credentials()
    assert MARK not in shown(caught.value)
