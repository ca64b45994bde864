"""Who calls our servers, and how many connections one of them may have."""

import pytest

from s3discovery.network.callers import LOCAL, Places, caller_of


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("127.0.0.7", LOCAL),
        ("::1", LOCAL),
        ("::ffff:127.0.0.1", LOCAL),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:0db8:0000:0001::/64"),
        ("fe80::1%eth0", "fe80::1"),
        ("nonsense", None),
        ("", None),
    ],
)
def test_one_machine_is_one_caller(address: str, caller: str | None) -> None:
    assert caller_of(address) == caller


def test_one_caller_has_a_part_and_this_machine_finds_some_free() -> None:
    places = Places("x", in_all=10, each=4, kept=2)
    assert [places.take("a") for _ in range(5)] == [True] * 4 + [False]
    assert [places.take("b") for _ in range(5)] == [True] * 4 + [False]
    assert not places.take("c")
    assert [places.take(LOCAL) for _ in range(3)] == [True, True, False]
    places.leave("a")
    assert not places.take("c")
    places.leave("b")
    places.leave(LOCAL)
    assert places.take("c")


def test_this_machine_may_have_all() -> None:
    places = Places("x", in_all=64, each=8, kept=8)
    assert sum(places.take(LOCAL) for _ in range(99)) == 64


def test_that_they_run_out_is_told_again_after_a_quiet_time_alone(caplog: pytest.LogCaptureFixture) -> None:
    places = Places("x", in_all=4, each=4, kept=0)
    for count in (1, 1, 2, 2):  # so many go; the log grows by one after two have gone
        while places.take(LOCAL):
            pass
        for _ in range(count):
            places.leave(LOCAL)
    assert caplog.text.count("x connections refused") == 2
