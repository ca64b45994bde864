"""What a node has left on its disk: its data folder and its log. Only read, but for `set_aside`."""

import itertools
from pathlib import Path
from typing import Final

from s3discovery.brokers.rabbitmq import faults
from s3discovery.brokers.rabbitmq.names import Variables
from s3discovery.brokers.rabbitmq.status import read_members_file
from s3discovery.errors import BrokerError

_DATA: Final = "/var/lib/rabbitmq/mnesia"
_LOGS: Final = "/var/log/rabbitmq"
_TAIL_BYTES: Final = 16 * 1024


class Home:
    """The folders of one node, as its variables name them; they may be where we cannot look."""

    def __init__(self, variables: Variables, node: str) -> None:
        data, log = variables.get("MNESIA_DIR"), variables.get("LOGS")
        self.data = Path(data) if data else Path(variables.get("MNESIA_BASE") or _DATA) / node
        self.log = Path(log) if log else Path(variables.get("LOG_BASE") or _LOGS) / f"{node}.log"
        self._node = node

    def is_blank(self) -> bool:
        """Tell whether the node has never run here; raises BrokerError if we may not look."""
        try:
            return next(self.data.iterdir(), None) is None
        except FileNotFoundError:
            return True
        except OSError as error:
            raise BrokerError(
                f"the data folder {str(self.data)!r} cannot be read: {error.strerror}; run the agent as the "
                "user of the broker"
            ) from error

    def members(self) -> frozenset[str]:
        """Return the other nodes of the cluster that it was in last; nobody if that is not to be known."""
        try:
            text = (self.data / "cluster_nodes.config").read_text(errors="replace")
        except OSError:
            return frozenset()
        return read_members_file(text) - {self._node}

    def was_forgotten(self) -> bool:
        """Tell whether its last words are that others do not know it any more."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                tail = file.read().decode(errors="replace")
        except OSError:
            return False
        quarrel = faults.dissent(tail)
        return quarrel is not None and quarrel[0] == self._node

    def set_aside(self) -> Path:
        """Move the data folder out of the way, and return where it is now; nothing is deleted."""
        for number in itertools.count(1):
            aside = self.data.with_name(f"{self.data.name}.forgotten-{number}")
            if not aside.exists():
                break
        try:
            self.data.rename(aside)
        except OSError as error:
            raise BrokerError(
                f"the data folder {str(self.data)!r} cannot be moved: {error.strerror}; move it by hand"
            ) from error
        return aside
