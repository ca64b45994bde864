"""Large messages put together again from their parts, which come in order or not at all. Pure."""

from s3discovery.mesh import wire
from s3discovery.mesh.wire import Frame, WireError


class Assembly:
    """One member's message that is still coming in; holds what has come of it, `limit_bytes` at most."""

    __slots__ = ("_data", "_expected", "_limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._expected: tuple[int, int, int] | None = None  # incarnation, sequence, length of the whole
        self._data = bytearray()

    @property
    def held_bytes(self) -> int:
        """How much has come in of a message that is not complete."""
        return len(self._data)

    def add(self, part: Frame) -> Frame | None:
        """Return the publish frame that `part` completes, or None while more must come.

        A part of another message ends the one before, which is lost then. Raises WireError, and gives up
        what was there, for a part that does not follow, for too large a message, and for one that is not
        what its parts say."""
        offset, whole_size, piece = wire.piece(part)
        which = (part.incarnation, part.sequence, whole_size)
        if which != self._expected or offset == 0:
            self.give_up()
            if offset:
                raise WireError(f"a part at {offset} of a message whose beginning never came")
            if whole_size > self._limit_bytes:
                raise WireError(f"a message of {whole_size} bytes is larger than {self._limit_bytes}")
            self._expected = which
        if offset != len(self._data) or offset + len(piece) > whole_size:
            self.give_up()
            raise WireError(f"a part at {offset} of {whole_size} bytes does not follow")
        self._data += piece
        if len(self._data) < whole_size:
            return None
        whole = bytes(self._data)
        self.give_up()
        frame = wire.decode(whole)
        if frame.kind != wire.PUBLISH or frame[1:4] != part[1:4]:
            raise WireError("the parts are not those of the message that they say")
        return frame

    def give_up(self) -> None:
        """Forget the message that is not complete."""
        self._expected = None
        self._data = bytearray()
