"""What arrived of one peer's messages: gaps, repeats, new links. Pure."""


class Reception:
    """The receiver's account of one peer.

    `incarnation` is the peer's newest link, `sequence` the last message of it that is accounted for:
    delivered or known to be lost."""

    __slots__ = ("incarnation", "sequence")

    def __init__(self) -> None:
        self.incarnation = 0
        self.sequence = 0

    def take(self, incarnation: int, sequence: int) -> int | None:
        """Account for a message; return how many before it never came, or None for one not to deliver.

        That is one that came before, or one of a link that the peer has given up."""
        last = self._last(incarnation)
        if last is None or sequence <= last:
            return None
        self.incarnation, self.sequence = incarnation, sequence
        return sequence - last - 1

    def reach(self, incarnation: int, sequence: int) -> int:
        """Account for all that the peer says it has sent; return how many of them never came."""
        last = self._last(incarnation)
        if last is None:
            return 0
        self.incarnation, self.sequence = incarnation, max(last, sequence)
        return self.sequence - last

    def _last(self, incarnation: int) -> int | None:
        if incarnation < self.incarnation:
            return None
        return self.sequence if incarnation == self.incarnation else 0
