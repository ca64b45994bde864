"""AWS's profile files: ~/.aws/credentials and ~/.aws/config, read as botocore reads them.

Their lines hold secrets, so no parser's message is passed on.
"""

import configparser
import logging
from collections.abc import Mapping
from pathlib import Path

from s3discovery.credentials.files import WatchedFile
from s3discovery.credentials.provider import Credentials, make_credentials
from s3discovery.errors import CredentialsError

log = logging.getLogger(__name__)

# The original documents the first, Java's SDK 1 reads the second, everyone else the third.
CREDENTIALS_VARIABLES = (
    "AWS_CREDENTIAL_PROFILE_FILE",
    "AWS_CREDENTIAL_PROFILES_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
)
CONFIG_VARIABLES = ("AWS_CONFIG_FILE",)
_PROFILE_VARIABLES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_SHOWN_PROFILES = 10
# What a profile may hold instead of keys, and the credentials-type that takes it.
_OTHER_TYPES = {
    "credential_process": "process",
    "sso_session": "sso",
    "sso_start_url": "sso",
    "web_identity_token_file": "web_identity",
    "role_arn": "assume_role",
}


def profile_name(configured: str | None, environ: Mapping[str, str]) -> str:
    """Return the profile to use: that of the settings, else of the environment, else `default`."""
    return configured or _first(environ, _PROFILE_VARIABLES) or "default"


def credentials_path(environ: Mapping[str, str]) -> Path:
    """Return where the credentials file is."""
    return _path(environ, CREDENTIALS_VARIABLES, "credentials")


def config_path(environ: Mapping[str, str]) -> Path:
    """Return where the configuration file of AWS's tools is."""
    return _path(environ, CONFIG_VARIABLES, "config")


def _path(environ: Mapping[str, str], variables: tuple[str, ...], name: str) -> Path:
    home = environ.get("HOME") or str(Path("~").expanduser())
    given = _first(environ, variables)
    if given == "~" or given.startswith("~/"):
        return Path(home + given[1:])
    return Path(given) if given else Path(home) / ".aws" / name


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environ.get(name, "").strip())), "")


def read_profiles(text: str, what: str) -> dict[str, dict[str, str]]:
    """Return the keys of every profile by its name, sections `[x]` and `[profile x]` alike.

    `what` names the file in errors. Raises CredentialsError."""
    parser = configparser.RawConfigParser(strict=False, default_section="", interpolation=None)
    try:
        parser.read_string(text)
    except configparser.MissingSectionHeaderError as error:
        line = error.lineno
        raise CredentialsError(f"{what}, line {line}: write a section such as [default] before it") from None
    except configparser.ParsingError as error:
        lines = ", ".join(str(line) for line, _ in error.errors)
        raise CredentialsError(f"{what}, line {lines}: write name=value, and nothing else") from None
    found: dict[str, dict[str, str]] = {}
    for section in parser.sections():
        kind, _, name = section.strip().partition(" ")
        key = name.strip().strip("\"'") if kind == "profile" and name.strip() else section.strip()
        found[key] = found.get(key, {}) | dict(parser.items(section))
    return found


class FileCredentials:
    """credentials-type:user_credentials_file: a profile's keys in the credentials file, and nothing else.

    The file is read again when it has changed. As long as that fails the last keys stay in use: a file may be
    caught while it is rewritten."""

    def __init__(self, path: Path, profile: str) -> None:
        self._file = WatchedFile(path, "credentials file")
        self._profile = profile
        self._text: str | None = None
        self._found: Credentials | None = None
        self._failed = False

    async def credentials(self) -> Credentials:
        try:
            text = self._file.read()
            if text != self._text or self._found is None:
                self._found, self._text = self._read(text), text
            self._failed = False
        except CredentialsError as error:
            if self._found is None:
                raise
            if not self._failed:
                log.warning("credentials file not read again, the old keys stay in use error=%r", str(error))
            self._failed = True
        return self._found

    def _read(self, text: str) -> Credentials:
        what = str(self._file)
        profiles = read_profiles(text, what)
        keys = profiles.get(self._profile)
        if keys is None:
            known = ", ".join(map(repr, sorted(profiles)[:_SHOWN_PROFILES])) or "none"
            raise CredentialsError(
                f"{what} has no profile {self._profile!r} (it has {known}); add it, or set "
                "credentials-profile"
            )
        for name in ("aws_access_key_id", "aws_secret_access_key"):
            if not keys.get(name):
                raise CredentialsError(f"{what}, profile {self._profile!r}: {_cure(keys, name)}")
        return make_credentials(
            f"{what}, profile {self._profile!r}",
            keys["aws_access_key_id"],
            keys["aws_secret_access_key"],
            keys.get("aws_session_token") or None,
        )


def _cure(keys: Mapping[str, str], missing: str) -> str:
    for name, kind in _OTHER_TYPES.items():
        if name in keys:
            return f"it has {name} instead of keys; write credentials-type:{kind}"
    return f"{missing} is missing; write it, or set credentials-profile to another"


def merged_profile(environ: Mapping[str, str], name: str) -> dict[str, str]:
    """Return all keys of profile `name`: those of the credentials file win over the configuration's.

    A file that does not exist holds nothing. Raises CredentialsError."""
    found: dict[str, str] = {}
    for file in (
        WatchedFile(config_path(environ), "config file"),
        WatchedFile(credentials_path(environ), "credentials file"),
    ):
        if file.exists():
            found |= read_profiles(file.read(), str(file)).get(name, {})
    return found
