"""DNS kept in step with discovery, and the host names of members: nobody waits for a name server."""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import dns.message
import dns.rcode
import pytest

from s3discovery import codec
from s3discovery.discovery import Discovery
from s3discovery.dns.directory import Directory
from s3discovery.dns.following import Following, time_to_live_s
from s3discovery.dns.responder import Responder
from s3discovery.dns.zone import Zone
from s3discovery.errors import UnreachableError
from s3discovery.ip import IP
from s3discovery.network.names import Found
from s3discovery.node import Address, Member, NodeFile
from s3discovery.testing import FakeClock, MemoryBucket, make_settings

NAME = "cluster.s3discovery."
LIMIT_S = 10.0


def ips(*texts: str) -> tuple[IP, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)


class Book:
    """Names as they are written here; `silent` ones are not answered, all others are not found."""

    def __init__(self, names: dict[str, Found] | None = None, silent: Collection[str] = ()) -> None:
        self.names = names or {}
        self.silent = set(silent)
        self.asked: list[str] = []

    async def find(self, host: str) -> Found:
        self.asked.append(host)
        if host in self.silent:
            await asyncio.Event().wait()
        try:
            return self.names[host]
        except KeyError:
            raise OSError(f"no {host}") from None


class SlowBook(Book):
    """Names that take a second each."""

    def __init__(self, names: dict[str, Found]) -> None:
        super().__init__(names)
        self.clock: FakeClock | None = None  # of who asks

    async def find(self, host: str) -> Found:
        if self.clock is not None:
            await self.clock.sleep(1)
        return await super().find(host)


class Told:
    """How often there were news."""

    count = 0

    def __call__(self) -> None:
        self.count += 1


@asynccontextmanager
async def directory(book: Book, clock: FakeClock, told: Told | None = None) -> AsyncIterator[Directory]:
    async with asyncio.TaskGroup() as tasks:
        made = Directory(tasks, clock, told or Told(), lambda threads: book)
        yield made
        made.mind(())


class TestDirectory:
    async def test_names_are_found_beside(self) -> None:
        clock, told = FakeClock(), Told()
        book = Book({"a": ("10.0.0.9", "2001:db8::1%2"), "b": ("::ffff:10.0.0.1",)})
        async with directory(book, clock, told) as own:
            own.mind({"a", "b"})
            assert own.addresses_of("a") == ()
            await clock.settle()
            assert own.addresses_of("a") == ips("10.0.0.9", "2001:db8::1")
            assert own.addresses_of("b") == ips("10.0.0.1")
            assert told.count == 2
            assert own.addresses_of("c") == ()

    async def test_a_good_answer_is_kept_for_a_while(self) -> None:
        clock, told, book = FakeClock(), Told(), Book({"a": ("10.0.0.9",)})
        async with directory(book, clock, told) as own:
            for _ in range(3):
                own.mind({"a"})
                await clock.advance(9)
            assert len(book.asked) == 1
            book.names["a"] = ("10.0.0.7",)
            await clock.advance(9)
            own.mind({"a"})
            await clock.settle()
            assert own.addresses_of("a") == ips("10.0.0.7")
            assert told.count == 2

    async def test_known_addresses_are_kept_while_a_look_up_fails(self) -> None:
        clock, book = FakeClock(), Book({"a": ("10.0.0.9",)})
        async with directory(book, clock) as own:
            own.mind({"a"})
            await clock.advance(31)
            del book.names["a"]
            own.mind({"a"})
            await clock.settle()
            assert len(book.asked) == 2
            assert own.addresses_of("a") == ips("10.0.0.9")
            own.mind(())
            own.mind({"a"})
            await clock.settle()
            assert own.addresses_of("a") == (), "a name that nobody has is forgotten"

    async def test_names_that_fail_are_asked_less_and_less(self) -> None:
        clock, book, asked_s = FakeClock(), Book(), list[float]()
        async with directory(book, clock) as own:
            for _ in range(260):
                before = len(book.asked)
                own.mind({"a"})
                await clock.advance(1)
                if len(book.asked) > before:
                    asked_s.append(clock.monotonic_s() - 1)
            book.names["a"] = ("10.0.0.9",)
            await clock.advance(60)
            own.mind({"a"})
            await clock.settle()
            assert own.addresses_of("a") == ips("10.0.0.9")
        assert asked_s == [0, 5, 15, 35, 75, 135, 195, 255]

    async def test_after_a_good_answer_a_failure_is_the_first_again(self) -> None:
        clock, books = FakeClock(), [Book() for _ in range(3)]
        new, known, failing = books
        remaining = iter(books)
        async with asyncio.TaskGroup() as tasks:
            own = Directory(tasks, clock, Told(), lambda threads: next(remaining))
            for wait_s in (5, 10):
                own.mind({"a"})
                await clock.advance(wait_s)
            failing.names["a"] = ("10.0.0.9",)
            own.mind({"a"})
            await clock.advance(30)
            assert own.addresses_of("a") == ips("10.0.0.9")
            own.mind({"a"})
            await clock.settle()
            assert own.due_s == clock.monotonic_s() + 5
            own.mind(())
        assert [len(book.asked) for book in (new, known, failing)] == [1, 1, 2]

    async def test_a_look_up_under_way_is_not_begun_again_and_ends_with_the_name(self) -> None:
        clock, book = FakeClock(), Book(silent={"a"})
        async with directory(book, clock) as own:
            for _ in range(3):
                own.mind({"a"})
                await clock.advance(100)
            assert book.asked == ["a"]
        assert own.addresses_of("a") == ()

    async def test_each_kind_of_name_has_threads_of_its_own(self) -> None:
        clock, books = FakeClock(), [Book({"a": ("10.0.0.9",)}) for _ in range(3)]
        remaining = iter(books)
        async with asyncio.TaskGroup() as tasks:
            own = Directory(tasks, clock, Told(), lambda threads: next(remaining))
            for _ in range(3):
                own.mind({"a", "b"})
                await clock.advance(31)
            own.mind(())
        new, known, failing = books
        assert sorted(new.asked) == ["a", "b"]
        assert set(known.asked) == {"a"}
        assert set(failing.asked) == {"b"}


def member(cluster_id: str, host: str, port: int = 7800) -> Member:
    return Member(cluster_id, Address(host, port))


class Followed:
    """A bucket, discovery in it, and the responder that follows."""

    def __init__(self, bucket: MemoryBucket, clock: FakeClock, responder: Responder) -> None:
        self.bucket = bucket
        self.clock = clock
        self.responder = responder

    async def put(self, cluster_id: str, host: str, port: int = 7800) -> None:
        body = codec.encode(NodeFile("1", 1, cluster_id, Address(host, port)), "1")
        await self.bucket.put(f"nodes/{cluster_id}", body)

    async def next_poll(self) -> None:
        await self.clock.advance(2)

    def ask(self, kind: str = "A", name: str = NAME) -> dns.message.Message:
        answer = self.responder.answer(dns.message.make_query(name, kind, use_edns=False).to_wire())
        assert answer is not None
        return dns.message.from_wire(answer)

    def texts(self, kind: str = "A") -> set[str]:
        return {record.to_text() for rrset in self.ask(kind).answer for record in rrset}


@asynccontextmanager
async def followed(
    *nodes: tuple[str, str, int], own: Member | None = None, book: Book | None = None, max_udp: int = 4096
) -> AsyncIterator[Followed]:
    clock = FakeClock()
    bucket = MemoryBucket(clock)
    made = Followed(
        bucket,
        clock,
        Responder(Zone(NAME, is_known=False), max_udp_bytes=max_udp, ttl_s=lambda: 1),
    )
    for node in nodes:
        await made.put(*node)
    settings = make_settings(poll_interval="1s")
    known = book or Book()
    async with Discovery(settings, bucket, own, clock=clock) as discovery:
        following = asyncio.create_task(
            Following(discovery, made.responder, clock, lambda threads: known).run()
        )
        try:
            await made.next_poll()
            yield made
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


class TestFollowing:
    async def test_joins_moves_and_leaves_are_told(self) -> None:
        async with followed(("a", "10.0.0.1", 7800), ("b", "10.0.0.2", 7800)) as found:
            assert found.texts() == {"10.0.0.1", "10.0.0.2"}
            await found.put("b", "10.0.0.3")
            await found.next_poll()
            assert found.texts() == {"10.0.0.1", "10.0.0.3"}, "as many nodes, one elsewhere"
            await found.put("c", "10.0.0.4")
            await found.bucket.delete("nodes/a")
            await found.next_poll()
            assert found.texts() == {"10.0.0.3", "10.0.0.4"}

    async def test_a_name_that_nobody_answers_for_holds_up_nobody(self) -> None:
        book = Book({"host-b": ("10.0.0.2",)}, silent={"bad"})
        async with followed(("a", "10.0.0.1", 7800), ("x", "bad", 7800), book=book) as found:
            assert found.texts() == {"10.0.0.1"}
            await found.put("b", "host-b")
            await found.next_poll()
            assert found.texts() == {"10.0.0.1", "10.0.0.2"}

    async def test_as_long_as_somebody_may_be_there_nobody_is_not_said(self) -> None:
        book = Book(silent={"host-a"})
        async with followed(("a", "host-a", 7800), book=book) as found:
            assert found.ask().rcode() == dns.rcode.SERVFAIL
        async with followed(("a", "host-a", 7800)) as found:
            assert found.ask().rcode() == dns.rcode.SERVFAIL, "it was not found, but is a member"
            await found.bucket.delete("nodes/a")
            await found.next_poll()
            assert found.ask().rcode() == dns.rcode.NOERROR

    async def test_a_name_that_failed_is_looked_up_again_without_a_poll(self) -> None:
        book = Book()
        async with followed(("a", "host-a", 7800), book=book) as found:
            book.names["host-a"] = ("10.0.0.9",)
            found.bucket.outage = UnreachableError("no answer")
            await found.clock.advance(8)
            assert found.texts() == {"10.0.0.9"}

    @pytest.mark.parametrize("known", [{"host-a": ("10.0.0.9",)}, {}], ids=["known", "failing"])
    async def test_a_slow_look_up_that_finds_nothing_new_is_not_the_last(
        self, known: dict[str, Found]
    ) -> None:
        book = SlowBook(known)
        async with followed(("a", "host-a", 7800), book=book) as found:
            book.clock = found.clock
            found.bucket.outage = UnreachableError("no answer")
            await found.clock.advance(40)
            assert len(book.asked) > 1
            book.names["host-a"] = ("10.0.0.7",)
            await found.clock.advance(70)
            assert found.texts() == {"10.0.0.7"}

    async def test_who_moved_to_another_name_is_not_where_it_was(self) -> None:
        book = Book({"old": ("10.0.0.9",)})
        async with followed(("a", "old", 7800), ("b", "10.0.0.1", 7800), book=book) as found:
            assert found.texts() == {"10.0.0.9", "10.0.0.1"}
            await found.put("a", "new")
            await found.next_poll()
            assert found.texts() == {"10.0.0.1"}
            await found.put("a", "old")
            del book.names["old"]
            await found.next_poll()
            assert found.texts() == {"10.0.0.1"}

    async def test_a_name_that_is_not_found_any_more_stays_where_it_was(self) -> None:
        book = Book({"host-a": ("10.0.0.9",)})
        async with followed(("a", "host-a", 7800), ("b", "10.0.0.1", 7800), book=book) as found:
            book.names.clear()
            await found.clock.advance(40)
            assert len(book.asked) > 1
            await found.put("c", "10.0.0.3")
            await found.next_poll()
            assert found.texts() == {"10.0.0.9", "10.0.0.1", "10.0.0.3"}

    async def test_addresses_are_those_of_nodes_at_our_own_port(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        forged = [(f"x{place}", "10.0.9.9", 1) for place in range(4)]
        own = member("own", "10.0.0.1")
        async with followed(("b", "10.0.0.2", 7800), *forged, own=own) as found:
            assert found.texts() == {"10.0.0.1", "10.0.0.2"}
            (warning,) = [each for each in caplog.messages if "another port" in each]
            assert warning.endswith("port=7800 cluster_ids=('x0', 'x1', 'x2', 'x3')")
            await found.put("c", "10.0.0.3")
            await found.next_poll()
            assert found.texts() == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
            assert sum("another port" in each for each in caplog.messages) == 1, "said once"

    async def test_without_a_node_of_our_own_the_port_is_that_of_most(self) -> None:
        nodes = [("a", "10.0.0.1", 7800), ("b", "10.0.0.2", 7801), ("c", "10.0.0.3", 7801)]
        async with followed(*nodes) as found:
            assert found.texts() == {"10.0.0.2", "10.0.0.3"}

    async def test_loopback_is_published_where_we_are_there_ourselves(self) -> None:
        stranger = ("x", "127.0.0.7", 7800)
        async with followed(stranger, ("b", "10.0.0.2", 7800), own=member("own", "10.0.0.1")) as found:
            assert found.texts() == {"10.0.0.1", "10.0.0.2"}
        async with followed(stranger, own=member("own", "127.0.0.1")) as found:
            assert found.texts() == {"127.0.0.1", "127.0.0.7"}
        async with followed(stranger, ("b", "10.0.0.2", 7800)) as found:
            assert found.texts() == {"10.0.0.2"}

    async def test_an_observer_is_on_the_machine_that_all_nodes_are_on(self) -> None:
        book = Book({"host-c": ("::1", "127.0.0.1"), "host-d": ("127.0.0.4", "10.0.0.4")})
        nodes = ("a", "127.0.0.1", 7800), ("b", "::ffff:127.0.0.2", 7800), ("c", "host-c", 7800)
        async with followed(*nodes, book=book) as found:
            assert found.texts() == {"127.0.0.1", "127.0.0.2"}
            assert found.texts("AAAA") == {"::1"}
            await found.put("d", "host-d")
            await found.next_poll()
            assert found.texts() == {"10.0.0.4"}, "one elsewhere, and loopback is of several machines"
        async with followed(*nodes) as found:
            assert found.ask().rcode() == dns.rcode.SERVFAIL, "where c is, is not known yet"

    async def test_whom_nobody_can_dial_is_left_out_and_named_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def told() -> list[str]:
            return [each.partition("kind=")[2] for each in caplog.messages if "leaves out nodes" in each]

        book = Book({"host-f": ("127.0.0.6", "10.0.0.6"), "host-g": ("fe80::1", "127.0.0.1")})
        hosts = ("127.0.0.1", "::1", "169.254.1.1", "240.0.0.1", "0.0.0.0", "host-f", "host-g", "not known")
        nodes = [(name, host, 7800) for name, host in zip("abcdefgh", hosts, strict=True)]
        async with followed(*nodes, book=book) as found:
            assert found.texts() == {"10.0.0.6"}
            assert told() == [
                "loopback cluster_ids=['a', 'b']",
                "link-local cluster_ids=['c']",
                "reserved cluster_ids=['d']",
                "unspecified cluster_ids=['e']",
                "no-address cluster_ids=['h']",
                "link-local cluster_ids=['c', 'g']",  # once its name is found
            ]
            caplog.clear()
            await found.put("i", "10.0.0.9")
            await found.next_poll()
            assert found.texts() == {"10.0.0.6", "10.0.0.9"}
            assert told() == [], "said once"
            await found.put("j", "127.0.0.1")
            await found.next_poll()
            assert told() == ["loopback cluster_ids=['a', 'b', 'j']"]

    @pytest.mark.parametrize("host", ["127.0.0.1", "169.254.1.1", "not known"])
    async def test_nobody_is_not_said_while_somebody_is_left_out(self, host: str) -> None:
        own = member("own", "169.254.1.2")
        async with followed(("a", host, 7800), own=own) as found:
            assert found.ask().rcode() == dns.rcode.SERVFAIL
            assert found.ask("SRV").rcode() == dns.rcode.SERVFAIL
            await found.put("b", "10.0.0.1")
            await found.next_poll()
            assert found.texts() == {"10.0.0.1"}

    async def test_more_than_a_datagram_holds_is_said_once(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        nodes = [(f"n{place}", f"10.0.0.{place}", 7800) for place in range(1, 30)]
        async with followed(*nodes, max_udp=512) as found:
            assert "a part of the addresses" not in caplog.text
            for place in range(30, 33):
                await found.put(f"n{place}", f"10.0.0.{place}")
                await found.next_poll()
            (warning,) = [each for each in caplog.messages if "a part of the addresses" in each]
            assert warning.endswith("type=A addresses=30 fit=29 dns-max-udp=512")
            for place in range(1, 6):
                await found.bucket.delete(f"nodes/n{place}")
            await found.next_poll()
            for place in range(1, 6):
                await found.put(f"n{place}", f"10.0.0.{place}")
            await found.next_poll()
            assert caplog.text.count("a part of the addresses") == 2, "again when it is so again"


@pytest.mark.parametrize(
    ("listed_s", "interval_s", "now_s", "expected"),
    [
        (None, 60, 100, 0),
        (100, 60, 100, 5),
        (100, 60, 156, 4),
        (100, 60, 200, 0),
        (100, 2, 100, 2),
    ],
)
def test_an_answer_holds_until_the_next_listing(
    listed_s: float | None, interval_s: float, now_s: float, expected: int
) -> None:
    assert time_to_live_s(listed_s=listed_s, poll_interval_s=interval_s, now_s=now_s) == expected
