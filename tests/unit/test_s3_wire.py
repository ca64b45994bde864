import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3discovery.errors import StoreFaultError
from s3discovery.s3.wire import (
    META,
    NotS3Error,
    Refusal,
    decode_metadata,
    encode_metadata,
    parse_etag,
    parse_http_date,
    parse_page,
    parse_refusal,
)

ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>{etag}</ETag>"
    "<Size>3</Size></Contents>"
)


def listing(
    key: str = "a", modified: str = "2026-01-02T03:04:05.678Z", etag: str = "&quot;e&quot;", more: str = ""
) -> bytes:
    entry = ENTRY.format(key=key, modified=modified, etag=etag)
    return f'<ListBucketResult xmlns="http://s3/">{more}{entry}</ListBucketResult>'.encode()


@given(value=st.text(st.characters(codec="utf-8")))
def test_metadata_comes_back_and_fits_a_header(value: str) -> None:
    headers = encode_metadata({"s3discovery-k": value})
    encoded = headers["x-amz-meta-s3discovery-k"]
    assert encoded.isascii()
    assert encoded.isprintable()
    assert " " not in encoded
    assert decode_metadata(headers.items()) == {"s3discovery-k": value}


def test_plain_metadata_stays_readable() -> None:
    encoded = encode_metadata({"k": "10.0.0.1:7800,host=x;[::1]/a_b-c~{}"})
    assert encoded == {"x-amz-meta-k": "10.0.0.1:7800,host=x;[::1]/a_b-c~{}"}


@given(raw=st.text(st.characters(max_codepoint=0xDCFF, categories=["L", "N", "P", "Cs"])))
def test_foreign_metadata_never_fails(raw: str) -> None:
    surrogates_of_bytes = "".join(char for char in raw if not "\ud800" <= char <= "\udc7f")
    (value,) = decode_metadata([(f"{META.upper()}Key", surrogates_of_bytes)]).values()
    value.encode()


def test_other_headers_are_no_metadata() -> None:
    assert decode_metadata([("ETag", "x"), ("X-Amz-Meta-A", "1"), ("x-amz-meta-a", "2")]) == {"a": "1,2"}


def test_page() -> None:
    page = parse_page(listing(key="a+%2B", more="<EncodingType>url</EncodingType>"))
    (entry,) = page.entries
    assert (entry.key, entry.etag, entry.size, page.token) == ("a +", "e", 3, None)
    assert entry.modified_s == 1767323045.678


def test_key_is_only_decoded_where_the_store_says_that_it_encoded() -> None:
    assert parse_page(listing(key="a+%2B")).entries[0].key == "a+%2B"


def test_key_that_is_no_utf8_is_kept() -> None:
    page = parse_page(listing(key="a%FF", more="<EncodingType>url</EncodingType>"))
    assert page.entries[0].key.encode("utf-8", "surrogateescape") == b"a\xff"


def test_page_with_a_next_one() -> None:
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;</NextContinuationToken>"
    assert parse_page(listing(more=more)).token == "t&"


def test_token_of_a_last_page_is_not_followed() -> None:
    more = "<IsTruncated>false</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    assert parse_page(listing(more=more)).token is None


def test_page_that_goes_on_without_saying_where() -> None:
    with pytest.raises(StoreFaultError, match="not where"):
        parse_page(listing(more="<IsTruncated>true</IsTruncated>"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html/>",
        b"<Error><Code>X</Code></Error>",
        listing()[:-10],
        listing(key=""),
        listing(modified="soon"),
        listing(modified="9999-99-99T00:00:00Z"),
        listing().replace(b"<Size>3", b"<Size>x"),
        listing().replace(b"LastModified", b"Other"),
        b"\xff\xfe",
        b"<!DOCTYPE a>" + listing(),
        b'<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;&b;">]>' + listing(key="&d;"),
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + listing(key="&b;"),
        ("<!DOCTYPE a>" + listing().decode()).encode("utf-16"),
    ],
)
def test_body_that_is_no_listing(body: bytes) -> None:
    with pytest.raises(NotS3Error):
        parse_page(body)


def test_etag_cannot_carry_a_line_into_a_header() -> None:
    assert parse_page(listing(etag="&quot;e&#10;X-Evil: 1&quot;")).entries[0].etag == "eX-Evil:1"
    assert parse_etag('W/"e"') == "e"


def test_refusal() -> None:
    body = (
        b"<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message><Region>r</Region>"
        b"<ServerTime>2026-01-02T03:04:05Z</ServerTime></Error>"
    )
    assert parse_refusal(body) == Refusal("RequestTimeTooSkewed", "m", "r", 1767323045.0)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b"<a/>", b"<!DOCTYPE a><Error><Code>X</Code></Error>"]
)
def test_refusal_in_another_shape_is_empty(body: bytes) -> None:
    assert parse_refusal(body) == Refusal()


def test_refusal_with_a_time_that_cannot_be_read() -> None:
    assert parse_refusal(b"<Error><ServerTime>now</ServerTime></Error>") == Refusal()


@pytest.mark.parametrize(
    ("text", "unix_s"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        (None, None),
        ("", None),
        ("yesterday", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 99999999999 08:49:37 GMT", None),
    ],
)
def test_http_date(text: str | None, unix_s: float | None) -> None:
    assert parse_http_date(text) == unix_s
