"""XML from servers: whatever comes, it is read or refused."""

from encodings.aliases import aliases

import pytest

from s3discovery.xml import NotXmlError, parse_xml


def is_read(body: bytes) -> bool:
    """Tell whether `body` is read; False if it is refused. Nothing else may happen."""
    try:
        parse_xml(body)
    except NotXmlError:
        return False
    return True


@pytest.mark.parametrize("encoding", sorted({*aliases.values(), "x-foo", "utf-32"}))
def test_any_encoding_is_read_or_refused(encoding: str) -> None:
    found = is_read(f'<?xml version="1.0" encoding="{encoding}"?><Error>x</Error>'.encode())
    if encoding in ("ascii", "utf_8", "latin_1"):
        assert found
    if encoding in ("gb2312", "utf-32", "x-foo"):
        assert not found


def test_documents_with_entities_are_refused() -> None:
    with pytest.raises(NotXmlError, match="document of type 'x'"):
        parse_xml(b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')


@pytest.mark.parametrize("body", [b"", b"<a>", b"<a>\xff</a>", b"no xml"])
def test_what_is_no_xml_is_refused(body: bytes) -> None:
    assert not is_read(body)


def test_depth_does_no_harm() -> None:
    is_read(b"<a>" * 50_000 + b"</a>" * 50_000)
