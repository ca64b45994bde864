"""Who has not refreshed his file for longer than who lives may: only what this node saw itself counts."""

import pytest

from s3discovery.formation.silence import Silence
from s3discovery.node import Address, Member


def peer(etag: str, cluster_id: str = "b") -> Member:
    return Member(cluster_id, Address("b.example", 7800), etag=etag)


def heard(*listings: tuple[float, str], failures: dict[int, int] | None = None) -> Silence:
    """Return what is known after listings at these times that showed these ETags, empty for nobody."""
    silence = Silence()
    for number, (listed_s, etag) in enumerate(listings, start=1):
        silence = silence.observe(
            [peer(etag)] if etag else [],
            polls=number,
            listed_s=listed_s,
            failures=(failures or {}).get(number, 0),
        )
    return silence


def is_long(silence: Silence, *, expiration_s: float = 60, interval_s: float = 20) -> bool:
    return silence.is_long(
        "b", file_expiration_s=expiration_s, update_interval_s=interval_s, poll_interval_s=5
    )


@pytest.mark.parametrize(
    ("interval_s", "expiration_s", "limit_s"),
    [(40, 90, 55), (20, 60, 35), (20, 300, 155)],
    ids=["own interval", "what an expiration allows", "that of others, while it is being changed"],
)
def test_silence_is_long_after_an_interval_and_a_quarter_and_a_poll(
    interval_s: float, expiration_s: float, limit_s: float
) -> None:
    for silent_s, expected in ((limit_s - 1, False), (limit_s + 1, True)):
        silence = heard((100, "x"), (100 + silent_s, "x"))
        assert is_long(silence, expiration_s=expiration_s, interval_s=interval_s) is expected


def test_what_was_before_the_first_listing_does_not_count() -> None:
    assert not is_long(heard((1000, "x")))
    assert not is_long(heard((0, ""), (1000, "x")))


def test_a_refresh_ends_it_and_so_does_absence() -> None:
    assert not is_long(heard((0, "x"), (100, "y")))
    assert is_long(heard((0, "x"), (100, "y"), (140, "y")))
    assert not is_long(heard((0, "x"), (100, "x"), (110, ""), (120, "x")))


def test_time_in_which_something_failed_does_not_count_and_what_was_before_does() -> None:
    listings = ((0.0, "x"), (20.0, "x"), (1000.0, "x"), (1010.0, "x"))
    assert is_long(heard(*listings))
    assert not is_long(heard(*listings, failures={3: 7, 4: 7}))
    assert is_long(heard(*listings, (1017.0, "x"), failures={3: 7, 4: 7, 5: 7}))


def test_a_listing_counts_once() -> None:
    silence = heard((0, "x"), (30, "x"))
    again = silence.observe([peer("y")], polls=2, listed_s=60, failures=0)
    assert again == silence


def test_nobody_is_silent_who_was_not_listed_or_need_not_write() -> None:
    silence = heard((0, "x"), (1000, "x"))
    assert not silence.is_long("c", file_expiration_s=60, update_interval_s=20, poll_interval_s=5)
    assert not is_long(silence, expiration_s=0, interval_s=0)
