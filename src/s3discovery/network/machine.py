"""Whether all members are on one machine, so that whoever asks there may dial them at loopback. Pure.

A bucket may name anybody's loopback: to offer it to others would have them dial themselves, as whoever writes
to the bucket likes.
"""

from collections.abc import Iterable


def is_one_machine(own: bool | None, members: Iterable[bool]) -> bool:
    """Tell whether loopback may be offered, from who is at loopback: the own node, and each member.

    The own node alone is proof. Without one (None: an observer) it takes all members: beside one that is
    elsewhere, those at loopback are on machines of their own."""
    return all(members) if own is None else own
