"""What holds of membership whatever is in the bucket."""

from hypothesis import given
from hypothesis import strategies as st

from s3discovery import codec
from s3discovery.bucket import Entry, Listing, Stored
from s3discovery.errors import CodecError
from s3discovery.membership import Expiry, Reading, View, assess, difference, read
from s3discovery.node import Address, Member, NodeFile

NOW_S = 1_800_000_000.0
EXPIRY = Expiry(file_expiration_s=60, update_interval_s=20, poll_interval_s=5)

ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).filter(
    lambda text: "|" not in text and not text.isspace() and text.strip() != ""
)
addresses = st.builds(
    Address, st.sampled_from(["10.0.0.1", "h.example", "::1", "fe80::1%eth0"]), st.integers(1, 65535)
)
members = st.dictionaries(ids, st.builds(Member, ids, addresses)).map(
    lambda found: {key: Member(key, value.address, {"n": value.cluster_id}) for key, value in found.items()}
)
garbage = st.one_of(
    st.binary(max_size=80),
    st.builds(lambda name, address: codec.encode(NodeFile("1", 1, name, address), "1"), ids, addresses),
    st.builds(lambda name, address: codec.encode(NodeFile("4", 1, name, address), "4")[:-3], ids, addresses),
)
prefixes = st.sampled_from(["", "nodes/", "/a//b/", "ü +%"])


def listed(bodies: dict[str, bytes], ages_s: dict[str, float]) -> Listing:
    entries = tuple(
        Entry(key, f"etag-{key}", NOW_S - ages_s.get(key, 0), len(body)) for key, body in bodies.items()
    )
    return Listing(entries, NOW_S)


def look(
    listing: Listing,
    bodies: dict[str, bytes],
    prefix: str,
    own_key: str | None,
    previous: View | None = None,
    monotonic_s: float = 10.0,
) -> View:
    readings = {}
    for entry in listing.entries:
        stored = Stored(bodies[entry.key], entry.etag, entry.modified_s)
        readings[entry.key] = read(entry, stored, prefix, None)
    return assess(
        previous or View(), listing, readings, EXPIRY,
        prefix=prefix, own_key=own_key, is_tampered=False, now_s=NOW_S, monotonic_s=monotonic_s,
    )  # fmt: skip


@given(
    prefix=prefixes,
    living=st.dictionaries(ids, addresses, max_size=8),
    beside=st.dictionaries(ids, garbage, max_size=8),
    ages_s=st.lists(st.floats(-1e6, 60), min_size=8, max_size=8),
    version=st.sampled_from(codec.VERSIONS),
)
def test_fresh_valid_files_are_the_members_whatever_is_beside_them(
    prefix: str,
    living: dict[str, Address],
    beside: dict[str, bytes],
    ages_s: list[float],
    version: str,
) -> None:
    valid = {
        prefix + name: codec.encode(NodeFile(version, 1, name, address), version)
        for name, address in living.items()
    }
    # Garbage that happens to be the valid file of its own key is none.
    rubbish = {
        prefix + name: body
        for name, body in beside.items()
        if name not in living and f"{name}||||".encode() not in _decoded(body)
    }
    bodies = rubbish | valid
    listing = listed(bodies, dict(zip(valid, ages_s, strict=False)))
    view = look(listing, bodies, prefix, None)
    assert {name: found.address for name, found in view.peers.items()} == living
    assert set(view.problems) == set(rubbish)
    assert not view.ripe


def _decoded(body: bytes) -> bytes:
    try:
        return codec.decode(body).cluster_id.encode() + b"||||"
    except CodecError:
        return b""


@given(before=members, after=members)
def test_a_difference_leads_from_one_set_to_the_other(
    before: dict[str, Member], after: dict[str, Member]
) -> None:
    current = dict(before)
    for change in difference(before, after):
        name = change.member.cluster_id
        match change.kind:
            case "left":
                assert current.pop(name) == change.member
            case "joined":
                assert name not in current
                current[name] = change.member
            case "moved":
                assert current[name] == change.before != change.member
                current[name] = change.member
    assert current == after
    assert difference(after, after) == ()


@given(
    prefix=prefixes,
    own=ids,
    others=st.dictionaries(ids, addresses, max_size=6),
    ages_s=st.lists(st.floats(0, 1e6), min_size=7, max_size=7),
)
def test_the_own_node_is_neither_a_peer_nor_ever_cleared(
    prefix: str, own: str, others: dict[str, Address], ages_s: list[float]
) -> None:
    names = {**others, own: Address("own.example", 7800)}
    bodies = {
        prefix + name: codec.encode(NodeFile("1", 1, name, address), "1") for name, address in names.items()
    }
    listing = listed(bodies, dict(zip(bodies, ages_s, strict=False)))
    view = look(listing, bodies, prefix, prefix + own)
    again = view
    for monotonic_s in range(15, 80, 5):
        again = look(listing, bodies, prefix, prefix + own, again, monotonic_s=monotonic_s)
    for seen in (view, again):
        assert own not in seen.peers
        assert prefix + own not in {entry.key for entry in seen.ripe} | set(seen.expired)
    dead = {key for key, age_s in zip(bodies, ages_s, strict=False) if age_s > 60} - {prefix + own}
    assert {entry.key for entry in again.ripe} == dead


@given(known=st.dictionaries(ids, addresses, max_size=6), unreadable=st.sets(ids, max_size=6))
def test_a_file_that_cannot_be_read_removes_nobody_who_is_known(
    known: dict[str, Address], unreadable: set[str]
) -> None:
    readings = {
        name: Reading("e", Member(name, address), "is empty" if name in unreadable else None)
        for name, address in known.items()
    }
    names = known.keys() | unreadable
    listing = Listing(tuple(Entry(name, "e", NOW_S, 9) for name in names), NOW_S)
    view = assess(
        View(), listing, readings, EXPIRY,
        prefix="", own_key=None, is_tampered=False, now_s=NOW_S, monotonic_s=10.0,
    )  # fmt: skip
    assert set(view.peers) == set(known)
    assert set(view.problems) == unreadable
