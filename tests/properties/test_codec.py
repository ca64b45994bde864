"""The codec holds for every node, and no bytes break it."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from s3discovery import codec
from s3discovery.errors import AddressError, CodecError
from s3discovery.node import Address, NodeFile

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40)


@given(TEXT, TEXT, st.integers(1, 65535), st.integers(1, 2**63 - 1), st.sampled_from(codec.VERSIONS))
def test_what_is_written_is_read_back(
    cluster_id: str, host: str, port: int, written_ms: int, version: str
) -> None:
    try:
        node_file = NodeFile(version, written_ms, cluster_id, Address(host, port))
        body = codec.encode(node_file, version)
    except (AddressError, CodecError):
        return
    assert codec.decode(body) == node_file


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_give_a_node_file_or_a_codec_error(body: bytes) -> None:
    for candidate in (body, base64.b64encode(body), base64.b64encode(b"1||||" + body)):
        try:
            node_file = codec.decode(candidate)
        except CodecError:
            continue
        assert isinstance(node_file, NodeFile)


@given(st.lists(st.text(max_size=20), min_size=5, max_size=6))
def test_fields_of_any_kind_never_hold_a_control_character(fields: list[str]) -> None:
    body = base64.b64encode("||||".join(["1", *fields[1:]]).encode("utf-8", errors="surrogatepass"))
    try:
        node_file = codec.decode(body)
    except CodecError:
        return
    assert (node_file.cluster_id + node_file.address.host).isprintable() or not any(
        char in "\r\n\x00\x1b\x85\u2028" for char in node_file.cluster_id + node_file.address.host
    )
