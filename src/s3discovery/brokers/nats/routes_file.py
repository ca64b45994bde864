"""The file of routes on disk: replaced whole, only if it becomes another; private if it holds a password."""

import os
import stat
from pathlib import Path

from s3discovery.brokers.nats.routes import render
from s3discovery.errors import BrokerError
from s3discovery.outputs.file import OutputFile

_PRIVATE = 0o600


class RoutesFile:
    """The file that nats.conf includes; `is_secret` if its URLs hold a password."""

    def __init__(self, path: str, *, is_secret: bool) -> None:
        self.path = path
        self._is_secret = is_secret
        self._file = OutputFile(Path(path))

    @property
    def exists(self) -> bool:
        """Whether there is one, whoever wrote it."""
        return Path(self.path).exists()

    def write(self, urls: list[str]) -> bool:
        """Make these its routes; tell whether that changed anything. Raises BrokerError."""
        try:
            if self._is_secret:
                self._make_private()
            return self._file.replace(render(urls).encode())
        except (OSError, BrokerError) as error:
            cause = error.__cause__ or error
            raise BrokerError(
                f"nats-routes-file {self.path!r} cannot be written: "
                f"{getattr(cause, 'strerror', None) or cause}; its folder must exist and be writable"
            ) from error

    def _make_private(self) -> None:
        """Take the file from all but its owner, before there is a password in it."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT, _PRIVATE)
        try:
            if stat.S_IMODE(os.fstat(handle).st_mode) & ~_PRIVATE:
                os.fchmod(handle, _PRIVATE)
        finally:
            os.close(handle)
