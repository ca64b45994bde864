"""A file that others read: replaced whole or not at all, and only if it becomes another.

The new content is written beside it, brought to the disk, and takes its place in one step; mode and owner
stay, and a symbolic link still leads to the same place.
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from s3discovery.errors import BrokerError

BEGIN = b"# s3discovery begin\n"
END = b"# s3discovery end\n"
LIMIT_BYTES = 16 * 1024 * 1024  # of a file in which only a block is ours
_PID_LIMIT = 2**22  # Linux: /proc/sys/kernel/pid_max is never more


class OutputFile:
    """The file at `path`; `in_block`: only what is between two marking lines is ours."""

    def __init__(self, path: Path, *, in_block: bool = False) -> None:
        self.path = path
        self._in_block = in_block

    def replace(self, content: bytes) -> bool:
        """Make `content` what the file or its block holds; tell whether that changed anything.

        Raises BrokerError if it cannot be written."""
        # The file that a symbolic link leads to is replaced, not the link.
        target = Path(os.path.realpath(self.path))
        try:
            before = _read(target)
            whole = content if not self._in_block else _with_block(self.path, before or b"", content)
            if whole == before:
                return False
            _replace(target, whole)
        except OSError as error:
            raise BrokerError(
                f"output-file {str(self.path)!r} cannot be written: {error.strerror or error}; its folder "
                "must exist and be writable, and the file must not be a mount of its own"
            ) from error
        return True

    def is_there(self) -> bool:
        """Tell whether there is a file, with a block of ours if only that is ours: that of an earlier run."""
        try:
            before = _read(Path(os.path.realpath(self.path)))
        except OSError:
            return False
        return before is not None and (not self._in_block or BEGIN in before)


def send_signal(pid_file: str, number: int) -> None:
    """Send a signal to the process whose id a file holds; raises BrokerError if there is none."""
    try:
        pid = int(Path(pid_file).read_text(encoding="ascii").strip())
        if not 1 < pid <= _PID_LIMIT:
            raise ValueError(f"{pid} is no process")
        os.kill(pid, number)
    except (OSError, ValueError) as error:
        raise BrokerError(f"no signal could be sent to the process in {pid_file!r}: {error}") from error


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(LIMIT_BYTES + 1)
    except FileNotFoundError:
        return None


def _with_block(path: Path, before: bytes, content: bytes) -> bytes:
    """Return what is in the file with our block in it anew, or behind it if it has none yet."""
    if content and not content.endswith(b"\n"):
        content += b"\n"
    if len(before) > LIMIT_BYTES or BEGIN in content or END in content:
        raise BrokerError(
            f"output-file {str(path)!r} is too large for output-block, or holds the marks twice"
        )
    block = BEGIN + content + END
    head, begin, rest = before.partition(BEGIN)
    if not begin:
        return head + (b"" if head.endswith(b"\n") or not head else b"\n") + block
    _, end, tail = rest.partition(END)
    if not end:
        raise BrokerError(
            f"output-file {str(path)!r} has a line {BEGIN!r} but none {END!r}; remove or end it"
        )
    return head + block + tail


def _replace(target: Path, content: bytes) -> None:
    found = target.stat() if target.exists() else None
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if found is not None:
                _keep_owner(handle, found)
                os.fchmod(handle, stat.S_IMODE(found.st_mode))
            else:
                os.fchmod(handle, 0o666 & ~_umask())
            file.flush()
            os.fsync(handle)
        Path(name).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    _sync_folder(target.parent)


def _sync_folder(path: Path) -> None:
    """Bring the new name to the disk, where that is possible: the file itself has been replaced already."""
    with suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _keep_owner(handle: int, found: os.stat_result) -> None:
    own = os.fstat(handle)
    if (own.st_uid, own.st_gid) != (found.st_uid, found.st_gid):
        os.fchown(handle, found.st_uid, found.st_gid)


def _umask() -> int:
    """Return the mask of this process, which can only be read by setting it; as the kernel tells it first."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022
