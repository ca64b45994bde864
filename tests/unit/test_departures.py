"""Who is gone for good: absent and down, both, all the time, for long enough."""

from functools import partial

from s3discovery.formation.departures import Departures

LIMIT_S = 600.0
observe = partial(Departures.observe, gap_limit_s=1000)


def overdue(departures: Departures, now_s: float) -> tuple[str, ...]:
    return departures.overdue(forget_after_s=LIMIT_S, now_s=now_s)


def test_who_is_absent_and_down_for_long_enough_is_gone() -> None:
    departures = observe(Departures(), down={"a", "b"}, present={"b", "c"}, now_s=100)
    departures = observe(departures, down={"a", "b"}, present={"b", "c"}, now_s=400)
    assert overdue(departures, 699) == ()
    assert overdue(departures, 700) == ("a",)


def test_neither_alone_is_enough() -> None:
    absent = observe(Departures(), down=(), present=(), now_s=0)
    down = observe(Departures(), down={"a"}, present={"a"}, now_s=0)
    assert overdue(absent, 1e9) == overdue(down, 1e9) == ()


def test_whoever_comes_back_for_a_moment_begins_anew() -> None:
    departures = observe(Departures(), down={"a"}, present=(), now_s=0)
    for down, present in (({"a"}, {"a"}), ((), ())):
        returned = observe(departures, down=down, present=present, now_s=599)
        again = observe(returned, down={"a"}, present=(), now_s=600)
        assert overdue(again, 1199) == ()
        assert overdue(again, 1200) == ("a",)


def test_all_who_are_gone_are_named_in_order() -> None:
    departures = observe(Departures(), down={"b", "a", "c"}, present=(), now_s=0)
    assert overdue(departures, LIMIT_S) == ("a", "b", "c")


def test_what_was_before_a_gap_does_not_count() -> None:
    departures = observe(Departures(), down={"a"}, present=(), now_s=0)
    near = departures.observe(down={"a"}, present=(), now_s=130, gap_limit_s=130)
    far = departures.observe(down={"a"}, present=(), now_s=131, gap_limit_s=130)
    assert overdue(near, 600) == ("a",)
    assert overdue(far, 730) == ()
    assert overdue(far, 731) == ("a",)
