import pytest

from s3discovery.s3.retries import RETRIES, backoff_s, is_passing, retry_after_s
from s3discovery.s3.wire import Answer

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def test_back_off_grows_and_has_full_jitter() -> None:
    longest = [backoff_s(retry, lambda: 1.0) for retry in range(RETRIES + 3)]
    assert longest == [0.1, 0.4, 1.6, 2.0, 2.0, 2.0]
    assert [backoff_s(retry, lambda: 0.0) for retry in range(RETRIES)] == [0, 0, 0]
    assert backoff_s(1, lambda: 0.5) == 0.2


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, 0.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "-7"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "٧"}, 0.0),
        ({"retry-after": "9" * 5000}, 1e6),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:57 GMT", "date": DATE}, 20.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:17 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:57 GMT"}, 15.0),
    ],
)
def test_retry_after(headers: dict[str, str], wait_s: float) -> None:
    assert retry_after_s(Answer(503, headers), 784111782.0) == wait_s


def test_what_may_pass() -> None:
    assert [status for status in range(100, 600) if is_passing(status, None)] == [429, 500, 502, 503, 504]
    assert is_passing(400, "RequestTimeout")
    assert is_passing(409, "ConditionalRequestConflict")
    assert not is_passing(400, "InvalidRequest")
