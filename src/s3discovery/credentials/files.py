"""Small text files that somebody else writes: read again when they have changed."""

from pathlib import Path

from s3discovery.errors import CredentialsError

LIMIT_BYTES = 1024 * 1024


class WatchedFile:
    """One file; `what` names it in errors, such as "credentials file"."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._what = what
        self._mark: tuple[int, int, int] | None = None
        self._text = ""

    def __str__(self) -> str:
        return f"{self._what} {str(self.path)!r}"

    def exists(self) -> bool:
        """Return whether there is such a file; raises CredentialsError where that cannot be found out."""
        try:
            return self.path.exists()
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error

    def read(self) -> str:
        """Return the text of now; raises CredentialsError."""
        try:
            found = self.path.stat()
            # The inode, too: mounted secrets are replaced by other files, whose times may be equal.
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
            if mark != self._mark:
                with self.path.open("rb") as file:
                    raw = file.read(LIMIT_BYTES + 1)
                if len(raw) > LIMIT_BYTES:
                    raise CredentialsError(f"{self} is over {LIMIT_BYTES} bytes; name the right file")
                self._text, self._mark = raw.decode("utf-8"), mark
        except FileNotFoundError as error:
            raise CredentialsError(f"{self} does not exist; write it, or name another") from error
        except UnicodeDecodeError:  # without the cause: it holds the text
            raise CredentialsError(f"{self} is no UTF-8; name a text file") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise self._unreadable(error) from error
        return self._text

    def _unreadable(self, error: OSError | ValueError) -> CredentialsError:
        why = getattr(error, "strerror", None) or error
        cure = "give this user the right to" if isinstance(error, PermissionError) else "name another"
        return CredentialsError(f"{self} cannot be read ({why}); {cure}")
