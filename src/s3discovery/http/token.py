"""The token that requests must bring: a text of the settings, or what a file holds just now."""

import logging
from collections.abc import Callable
from pathlib import Path

from s3discovery.errors import Problem, SettingsError
from s3discovery.settings.config import Settings

log = logging.getLogger(__name__)


def token_of(settings: Settings) -> Callable[[], str | None]:
    """Return what gives the token, None if none is asked for; raises SettingsError for a useless file."""
    if settings.http_token is not None:
        token = settings.http_token.reveal()
        return lambda: token
    if settings.http_token_file is None:
        return lambda: None
    return TokenFile(Path(settings.http_token_file))


class TokenFile:
    """The token in a file, read again when that changes; while it cannot be read, the last one holds.

    Raises SettingsError if there is none at first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark: object = _mark(path)  # before it is read: a change meanwhile is seen the next time
        self._refused: object = None
        self._token = self._read()

    def __call__(self) -> str:
        mark = _mark(self._path)
        if mark not in (self._mark, self._refused):
            try:
                self._token, self._mark, self._refused = self._read(), mark, None
                log.info("http token read again path=%r", str(self._path))
            except SettingsError as error:
                # Written to again, or brought back, it has another mark.
                self._refused = mark
                log.warning("http token file is of no use, so the last token holds error=%r", str(error))
        return self._token

    def _read(self) -> str:
        """Return what the file holds; raises SettingsError."""
        shown = str(self._path)
        try:
            token = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            cure = f"cannot be read: {type(error).__name__}"
            raise SettingsError([Problem("http-token-file", shown, cure)]) from error
        if not token.isprintable():  # a byte order mark, a second line: no request brings such a thing
            cure = "holds more than a line of text; write the token into it, and nothing else"
            raise SettingsError([Problem("http-token-file", shown, cure)])
        if not token:
            raise SettingsError([Problem("http-token-file", shown, "is empty; write a token into it")])
        return token


def _mark(path: Path) -> object:
    """Return what changes when the file does, or who may read it."""
    try:
        found = path.stat()
    except OSError as error:
        return type(error)
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
