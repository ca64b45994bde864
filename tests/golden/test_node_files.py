"""Every body that the original Java classes made or judged, replayed through the codec."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from s3discovery import codec
from s3discovery.errors import AddressError, CodecError
from s3discovery.node import Address, NodeFile

GOLDEN = json.loads(Path(__file__).with_name("node_files.json").read_text())

UNKNOWN_VERSION = "the version-1 reader ignores the version; a format nobody knows is not guessed at"
NOT_A_PORT = "no peer could dial the port"
LAZY_TIME = "the version-1 reader lists it only while expiry is off, and fails on it otherwise"
BLANK = "a blank id or host names nothing; the version-4 reader refuses the id, too"
CONTROL = "a control character could end a line in a log, a terminal or a file"
BLURRED = "the original writes a file that no reader reads back as written"

STRICTER_READING = {
    **dict.fromkeys(
        (("v1", f"version {v!r}") for v in ("", "0", "5", "04", " 4", "1.0", "x", "-1")), UNKNOWN_VERSION
    ),
    ("v1", "decoded BOM before version"): UNKNOWN_VERSION,
    **dict.fromkeys((("v1", f"port {p!r}") for p in ("0", "70000", "-1", "2147483647")), NOT_A_PORT),
    ("v4", "port '0'"): NOT_A_PORT,
    **dict.fromkeys(
        (
            ("v1", f"timestamp {t!r}")
            for t in ("", "1e12", "1893456000000.5", "9223372036854775808", "-9223372036854775809", "9" * 20)
        ),
        LAZY_TIME,
    ),
    **dict.fromkeys((("v1", f"id {i!r}") for i in ("", " ", "\t", "\u2003", "\u3000", "\x1c")), BLANK),
    **dict.fromkeys(((v, "host ' '") for v in ("v1", "v4")), BLANK),
    **dict.fromkeys(((v, f"id {i!r}") for v in ("v1", "v4") for i in ("\x85", "id\nnl", "x\x00y")), CONTROL),
    **dict.fromkeys(((v, "host 'h\\nn'") for v in ("v1", "v4")), CONTROL),
}

STRICTER_WRITING = {
    **dict.fromkeys(
        (
            (v, *case)
            for v in ("v1", "v4")
            for case in (
                ("sep||||inside", "10.0.0.7", 7800),
                ("id", "sep||||host", 7800),
                ("trail|", "10.0.0.8", 7800),
            )
        ),
        BLURRED,
    ),
    **dict.fromkeys(
        (
            (v, *case)
            for v in ("v1", "v4")
            for case in (
                ("\ttab\n", "10.0.0.9", 7800),
                ("lone\ud800sur", "10.0.0.17", 7800),
                ("nul\x00id", "10.0.0.18", 7800),
            )
        ),
        CONTROL,
    ),
    ("v1", "", " ", 7800): BLANK,
    ("v1", " ", "10.0.0.12", 7800): BLANK,
    ("v1", "id", "10.0.0.13", 0): NOT_A_PORT,
    ("v1", "id", "10.0.0.14", 65536): NOT_A_PORT,
    ("v1", "id", "10.0.0.16", 2147483647): NOT_A_PORT,
    ("v4", "id", "10.0.0.13", 0): NOT_A_PORT,
}


@pytest.mark.parametrize("case", GOLDEN["parse"], ids=lambda case: f"{case['format']}-{case['name']!r}")
def test_reads_what_the_original_reads(case: dict[str, Any]) -> None:
    body = base64.b64decode(case["body_base64"])
    listed = case["listed"]
    if listed is None or (case["format"], case["name"]) in STRICTER_READING:
        with pytest.raises(CodecError) as caught:
            codec.decode(body)
        assert str(caught.value)
        return
    node_file = codec.decode(body)
    assert (node_file.address.host, node_file.address.port) == (listed["host"], listed["port"])
    if case["format"] == "v4":
        assert node_file.cluster_id == case["parsed"]["cluster_id"]
        assert node_file.written_ms == case["parsed"]["timestamp_ms"]


@pytest.mark.parametrize(
    "case", GOLDEN["create"], ids=lambda c: f"{c['format']}-{c['cluster_id']!r}-{c['port']}"
)
def test_writes_what_the_original_writes(case: dict[str, Any]) -> None:
    version = case["format"].removeprefix("v")
    key = (case["format"], case["cluster_id"], case["host"], case["port"])
    if case.get("throws") or key in STRICTER_WRITING:
        with pytest.raises((CodecError, AddressError)):
            codec.encode(
                NodeFile(version, 1, case["cluster_id"], Address(case["host"], case["port"])), version
            )
        return
    node_file = NodeFile(
        version, case["timestamp_ms"], case["cluster_id"], Address(case["host"], case["port"])
    )
    assert codec.encode(node_file, version) == case["body"].encode()
    assert codec.decode(codec.encode(node_file, version)) == node_file


def test_every_listed_difference_is_one() -> None:
    judged = {(case["format"], case["name"]): case["listed"] for case in GOLDEN["parse"]}
    assert [key for key in STRICTER_READING if judged[key] is None] == []
    made = {(c["format"], c["cluster_id"], c["host"], c["port"]): c.get("throws") for c in GOLDEN["create"]}
    assert [key for key in STRICTER_WRITING if made[key] is not None] == []
