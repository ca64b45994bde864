"""What JetStream has on this node's disk: whether its meta group has ever agreed on anything, and with whom.

A server that waits for its first leader has a folder already; nothing in it was ever agreed upon, so such
a node is blank, and may be started again in another role without it.
"""

import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from s3discovery.errors import BrokerError

_ID_BYTES = 8
_ROOT = "jetstream"  # what nats-server puts below store_dir
_META = "*/_js_/_meta_"  # below it, in the folder of the system account
_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class MetaState:
    """The meta group on disk; `known` are peer ids, the own one included."""

    known: frozenset[str]
    is_agreed: bool


def read_state(store_dir: str) -> MetaState | None:
    """Return what is on disk, or None if there is nothing; raises BrokerError if it cannot be read."""
    try:
        folders = list(_root(store_dir).glob(_META))
        if not folders:
            return None
        states = [_read(folder) for folder in folders]
    except OSError as error:
        raise BrokerError(
            f"JetStream's files in {store_dir!r} cannot be read: {error.strerror or error}; run s3discovery "
            "as the user of nats-server, or correct nats-store-dir"
        ) from error
    return MetaState(
        frozenset().union(*(state.known for state in states)), any(state.is_agreed for state in states)
    )


def drop_blank_state(store_dir: str) -> None:
    """Remove what a server left that waited for its first leader; what was agreed upon is never touched."""
    for folder in _root(store_dir).glob(_META):
        if not _read(folder).is_agreed:
            shutil.rmtree(folder)


def drop_everything(store_dir: str) -> None:
    """Remove all that JetStream keeps: its server must be stopped, and its data wanted no more."""
    root = _root(store_dir)
    if root.exists():
        shutil.rmtree(root)


def is_there(store_dir: str) -> bool:
    """Tell whether there is such a folder here; a server in a container of its own may have another one."""
    return Path(store_dir).is_dir()


def is_same(stored: str, wanted: str) -> bool:
    """Tell whether two store_dir mean the same folder; nats-server shows the one below it."""
    return _root(stored).resolve() == _root(wanted).resolve()


def _root(store_dir: str) -> Path:
    folder = Path(store_dir)
    return folder if folder.name == _ROOT else folder / _ROOT


def _read(folder: Path) -> MetaState:
    commit = folder / "commit.idx"
    if commit.exists():
        is_agreed = commit.stat().st_size > 0
    else:  # before NATS 2.12 nothing told how far the log is agreed upon
        logs = [*folder.glob("msgs/*.blk"), *folder.glob("snapshots/*")]
        is_agreed = any(file.stat().st_size > 0 for file in logs)
    return MetaState(_known(folder / "peers.idx"), is_agreed)


def _known(file: Path) -> frozenset[str]:
    """Return the peer ids in a file of peers: two numbers (expected size, count) and that many ids."""
    if not file.exists():
        return frozenset()
    with file.open("rb") as opened:
        content = opened.read(_LIMIT_BYTES)
    if len(content) < 8:
        return frozenset()
    (count,) = struct.unpack_from("<I", content, 4)
    ids = content[8 : 8 + count * _ID_BYTES].decode("latin-1")
    return frozenset(ids[start : start + _ID_BYTES] for start in range(0, len(ids), _ID_BYTES))
