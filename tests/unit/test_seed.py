"""The claim: its bytes, whatever is in them, and its key."""

import json

import pytest

from s3discovery.errors import CodecError, SettingsError
from s3discovery.formation import seed
from s3discovery.formation.seed import Claim, Process, Stage
from s3discovery.node import is_incarnation
from s3discovery.settings.claim import claim_key
from s3discovery.testing import make_settings

ONE = Process("1800000000000-0123456789abcdef", "n1")
TWO = Process("1800000000001-0123456789abcdef", "rabbit@ünï 2")
CLAIM = Claim("00112233aabbccdd", ONE, Stage.FOUNDED, (TWO,), nonce="ffeeddccbbaa9988")


class TestBytes:
    @pytest.mark.parametrize("stage", list(Stage))
    def test_what_was_written_is_read(self, stage: Stage) -> None:
        claim = Claim(CLAIM.founding, ONE, stage, (TWO, ONE), CLAIM.nonce, (ONE,))
        assert seed.decode(seed.encode(claim)) == claim

    def test_every_write_has_other_bytes(self) -> None:
        other = Claim(CLAIM.founding, ONE, Stage.FOUNDED, (TWO,), nonce="0" * 16)
        assert seed.encode(other) != seed.encode(CLAIM)

    @pytest.mark.parametrize("text", ["🙂" * 256, '"' * 1024])
    def test_the_largest_claim_fits(self, text: str) -> None:
        long = Process(ONE.incarnation, text)
        joiners, leavers = (long,) * seed.JOINERS_LIMIT, (long,) * seed.LEAVERS_LIMIT
        claim = Claim(CLAIM.founding, long, Stage.FORMED, joiners, CLAIM.nonce, leavers)
        assert len(seed.encode(claim)) <= seed.CLAIM_LIMIT
        assert seed.decode(seed.encode(claim)) == claim

    @pytest.mark.parametrize(
        "body",
        [b"", b"garbage", b"\xff\xfe", b"[]", b"null", b"1", b"{}", b"[" * 100_000, b"1" * 10_000],
    )
    def test_garbage_is_refused(self, body: bytes) -> None:
        with pytest.raises(CodecError):
            seed.decode(body)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("version", 2),
            ("version", None),
            ("stage", "founding"),
            ("stage", ["formed"]),
            ("stage", None),
            ("founding", "xyz"),
            ("founding", "00112233aabbccdd\n"),
            ("founding", 1),
            ("nonce", None),
            ("owner", None),
            ("owner", "n1"),
            ("owner", {"cluster_id": "n1"}),
            ("owner", {"cluster_id": "a\nb", "incarnation": ONE.incarnation}),
            ("owner", {"cluster_id": " ", "incarnation": ONE.incarnation}),
            ("owner", {"cluster_id": "x" * 1025, "incarnation": ONE.incarnation}),
            ("owner", {"cluster_id": "\ud800", "incarnation": ONE.incarnation}),
            ("owner", {"cluster_id": 1, "incarnation": ONE.incarnation}),
            ("owner", {"cluster_id": "n1", "incarnation": "1-2"}),
            ("joiners", None),
            ("joiners", [1]),
            ("joiners", [{"cluster_id": "n1", "incarnation": ONE.incarnation}] * 9),
            ("leavers", None),
            ("leavers", [1]),
            ("leavers", [{"cluster_id": "n1", "incarnation": ONE.incarnation}] * 33),
        ],
    )
    def test_a_wrong_field_is_refused(self, name: str, value: object) -> None:
        said = json.loads(seed.encode(CLAIM)) | {name: value}
        with pytest.raises(CodecError) as caught:
            seed.decode(json.dumps(said).encode())
        assert len(str(caught.value)) < 200

    def test_a_claim_from_before_there_were_leavers_is_read(self) -> None:
        said = json.loads(seed.encode(CLAIM))
        del said["leavers"]
        assert seed.decode(json.dumps(said).encode()) == CLAIM

    def test_what_a_later_version_adds_is_passed_over(self) -> None:
        said = json.loads(seed.encode(CLAIM)) | {"more": 1}
        assert seed.decode(json.dumps(said).encode()) == CLAIM


PREFIXES = [
    "",
    "nodes/",
    "nodes",
    ".",
    ".s3discovery",
    ".s3discovery/",
    ".s3discovery/nodes%2F/",
    ".s3discovery/.s3discovery%2F/seed",
    "_s3discovery/",
    "_",
    "/a//b/",
    "ü *?+%",
    "x" * 900,
    "ü" * 450,
    ".s3discovery/" + "x" * 900,
]


class TestKey:
    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_it_lies_outside_of_the_prefix(self, prefix: str) -> None:
        key = claim_key(make_settings(file_prefix=prefix))
        assert not prefix or not key.startswith(prefix)
        assert len(key.encode()) <= 1024

    def test_no_two_prefixes_share_one(self) -> None:
        keys = {claim_key(make_settings(file_prefix=prefix)) for prefix in PREFIXES}
        assert len(keys) == len(PREFIXES)

    def test_it_can_be_set(self) -> None:
        assert claim_key(make_settings(seed_key="other/key")) == "other/key"

    def test_it_cannot_be_set_inside_of_the_prefix(self) -> None:
        with pytest.raises(SettingsError, match="seed-key"):
            make_settings(file_prefix="nodes/", seed_key="nodes/seed")
        assert claim_key(make_settings(file_prefix="", seed_key="seed")) == "seed"

    def test_by_default(self) -> None:
        assert claim_key(make_settings(file_prefix="nodes/")) == ".s3discovery/nodes%2F/seed"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [(ONE.incarnation, True), ("", False), ("1-2", False), (f"{ONE.incarnation}\n", False)],
)
def test_incarnations_have_a_form(text: str, is_one: bool) -> None:
    assert is_incarnation(text) is is_one
