"""The parts of the page by themselves, in a browser: given documents, what do they show?"""

from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from s3discovery.clock import SystemClock
from s3discovery.discovery import Discovery
from s3discovery.errors import UnreachableError
from s3discovery.http import serving
from s3discovery.http.page import SCRIPTS
from s3discovery.running import Running
from s3discovery.testing import Cable, MemoryBucket, make_settings
from s3discovery.testing.pages import LIMIT_S, RealTime, agent, launched, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

LABEL_LIMITS = (9, 13, 14)  # those of picture.js


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    async with launched(chromium_path) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def parts(browser: Browser) -> Page:
    """The document with all its scripts but the one that begins to ask."""
    folder = files("s3discovery.http.page")
    scripts = "\n".join(folder.joinpath(f"{name}.js").read_text() for name in SCRIPTS if name != "main")
    html = (
        folder.joinpath("index.html")
        .read_text()
        .replace("@script@", f"{scripts}\nstartPicture(); startList();")
    )
    page = await browser.new_page()
    await page.set_content(html.replace("@style@", folder.joinpath("style.css").read_text()))
    await page.evaluate('$("shown").hidden = false')
    return page


def member(cluster_id: str, **values: Any) -> dict[str, Any]:
    return {
        "cluster_id": cluster_id,
        "host": "10.0.0.1",
        "port": 7800,
        "file_version": "1",
        "age_s": 30.0,
        "expires_in_s": 30.0,
        "late": False,
        "own": False,
        "state": None,
        "misses": [],
        "kind": None,
        **values,
    }


def trouble(kind: str, severity: str = "warning") -> dict[str, str]:
    return {"kind": kind, "severity": severity, "title": f"The {kind}", "effect": "So.", "cure": "Mend it."}


async def show(
    page: Page,
    members: Sequence[Mapping[str, Any]],
    *,
    cluster: Mapping[str, Any] | None = None,
    store: Mapping[str, Any] | None = None,
    troubles: Sequence[Mapping[str, str]] = (),
) -> dict[str, str]:
    """Show these documents; return what each tile says, its state last."""
    status = {
        "bucket": "b",
        "prefix": "nodes/",
        "own": None,
        "registered": False,
        "poll_interval_s": 15.0,
        "file_expiration_s": 60.0,
        "cluster": {
            "whole": True,
            "split": False,
            "groups": [[one["cluster_id"] for one in members]],
            "waiting": [],
            "strangers": [],
            "gaps": [],
            "gaps_count": 0,
            "broker": None,
            **(cluster or {}),
        },
        "store": {
            "answers": True,
            "write_error": None,
            "read_error": None,
            "listed_s_ago": 1.0,
            **(store or {}),
        },
        "troubles": list(troubles),
    }
    tiles: dict[str, str] = await page.evaluate(
        """([status, members]) => {
            take(status, { members });
            showTroubles(); showTiles(); showTitle(); showPicture(); showList();
            return Object.fromEntries(Object.entries(tiles).map(([name, { value, more, box }]) =>
                [name, `${value.textContent} | ${more.textContent} | ${box.dataset.state}`]));
        }""",
        [status, list(members)],
    )
    return tiles


class TestVerdict:
    async def test_it_is_the_agents(self, parts: Page) -> None:
        pair = [member("a"), member("b")]
        assert (await show(parts, pair))["Cluster"] == "Whole | all see each other | good"
        assert await parts.inner_text("#summary") == "2 members, each sees every other."
        assert (await show(parts, pair, cluster={"whole": None}))[
            "Cluster"
        ] == "Not told | no broker reports | plain"
        assert await parts.inner_text("#summary") == "2 members, none tells of its broker."
        gaps = {"whole": False, "gaps": [["a", "b"]], "gaps_count": 2345}
        assert (await show(parts, pair, cluster=gaps))["Cluster"] == "With gaps | 2345 pairs | warning"
        assert "2345 pairs with a gap" in await parts.inner_text("#summary")

    async def test_it_is_never_good_while_the_own_broker_is_not_there(self, parts: Page) -> None:
        pair = [member("a", own=True), member("b")]
        tiles = await show(parts, pair, cluster={"broker": ""}, troubles=[trouble("broker")])
        assert tiles["Cluster"] == "Not joined | the broker of this node is not there yet | warning"
        assert "each sees" not in await parts.inner_text("#summary")
        tiles = await show(
            parts, pair, cluster={"broker": "waiting for b (1/2)"}, troubles=[trouble("broker")]
        )
        assert tiles["Cluster"] == "Not joined | waiting for b (1/2) | warning"

    async def test_a_cluster_that_somebody_is_missing_in_is_incomplete(self, parts: Page) -> None:
        broker = "incomplete 2/3, waiting for 'c'"
        tiles = await show(
            parts, [member("a", own=True)], cluster={"broker": broker}, troubles=[trouble("missing")]
        )
        assert tiles["Cluster"] == f"Incomplete | {broker} | warning"

    async def test_while_the_store_fails_it_is_of_the_last_listing(self, parts: Page) -> None:
        pair = [member("a"), member("b")]
        tiles = await show(parts, pair, store={"answers": False, "listed_s_ago": 26.0})
        assert tiles["Cluster"] == "Whole | as of 26 s ago | plain"
        assert tiles["Store"] == "Failing | listed 26 s ago, every 15 s | bad"
        assert (
            await parts.inner_text("#summary")
            == "2 members when the store was last listed, each sees every other."
        )

    async def test_who_tells_nothing_stands_aside_and_nobody_waits(self, parts: Page) -> None:
        members = [member("a"), member("b"), member("hivemq")]
        beside = {"groups": [["a", "b"]], "strangers": ["hivemq"]}
        tiles = await show(parts, members, cluster=beside)
        assert tiles["Cluster"] == "Whole | 2 see each other | good"
        summary = await parts.inner_text("#summary")
        assert summary == "3 members, those in the cluster see one another, 1 beside them telling nothing."
        assert await parts.inner_text(".group.stranger h3") == "Telling nothing of their brokers · 1 node"
        assert await parts.locator(".group.stranger .node.waiting").count() == 0
        assert "tells nothing" in (
            await parts.locator(".group.stranger .node").get_attribute("aria-label") or ""
        )
        assert await parts.locator("#picture .link").count() == 1

    async def test_a_store_that_is_slow_says_so(self, parts: Page) -> None:
        tiles = await show(parts, [member("a")], troubles=[trouble("slow")])
        assert tiles["Store"] == "Slow | listed 1 s ago, every 15 s | warning"

    async def test_members_kept_past_their_expiry_are_not_said_never_to_expire(self, parts: Page) -> None:
        tiles = await show(parts, [member("a", expires_in_s=-3.0), member("b", expires_in_s=9.0)])
        assert tiles["Members"] == "2 | some past expiry, kept | good"
        tiles = await show(parts, [member("a", expires_in_s=None)])
        assert tiles["Members"] == "1 | none expires | good"

    @pytest.mark.parametrize(
        ("state", "broker", "tone", "words"),
        [
            ("formed 3/3", "formed 3/3", "good", "Cluster: formed 3/3"),
            ("formed 3/3", None, "good", "Cluster: formed 3/3"),
            (
                "formed 3/3",
                "incomplete 2/3, waiting for 'c'",
                "warning",
                "Cluster: formed 3/3; the broker of this node: incomplete 2/3, waiting for 'c'",
            ),
            ("split: a | b", "split: a | b", "bad", "Cluster: split: a | b"),
            (
                "2 members, none tells of its broker",
                "told of 1 peer",
                "warning",
                "Cluster: 2 members, none tells of its broker; the broker of this node: told of 1 peer",
            ),
        ],
    )
    async def test_an_event_says_what_all_report_and_what_this_node_knows(
        self, parts: Page, state: str, broker: str | None, tone: str, words: str
    ) -> None:
        told = """(data) => { const row = eventRow({ event: "cluster", data });
            return [row.dataset.tone, row.lastChild.textContent]; }"""
        assert await parts.evaluate(told, {"at": 1.0, "state": state, "broker": broker}) == [tone, words]

    @pytest.mark.parametrize("what", ["write_error", "read_error"])
    async def test_a_store_that_does_half_of_it(self, parts: Page, what: str) -> None:
        tiles = await show(parts, [member("a")], store={what: "denied"})
        assert tiles["Store"] == "Partly | listed 1 s ago, every 15 s | warning"

    async def test_what_was_never_listed_is_not_known(self, parts: Page) -> None:
        for members in ([], [member("own", own=True)]):
            tiles = await show(parts, members, cluster={"whole": None}, store={"listed_s_ago": None})
            assert tiles["Cluster"] == "Not known yet | the store has not been listed | plain"
            assert tiles["Members"].startswith("Not known yet | ")
            assert await parts.title() == "not known yet · s3discovery"
            assert await parts.inner_text("#count") == "not known yet"
            assert "not known yet" in await parts.inner_text("#summary")
        await show(parts, [], store={"listed_s_ago": None})
        assert await parts.inner_text("#picture") == "Who is there is not known yet."
        assert (await show(parts, []))["Cluster"] == "Empty | nobody is there | warning"
        assert await parts.inner_text("#picture") == "Nobody is there."


async def test_nothing_goes_on_while_the_agent_cannot_be_asked(parts: Page) -> None:
    await show(parts, [member("a")])
    aged = "(isLost) => { known.isLost = isLost; known.at -= 5000; return ageOf(known.members[0]); }"
    assert await parts.evaluate(aged, True) == 30.0
    assert await parts.evaluate(aged, False) >= 40.0


class TestPicture:
    async def test_rings_empty_and_signs_say_what_colours_do(self, parts: Page) -> None:
        members = [
            member("calm", expires_in_s=60.0),
            member("half"),
            member("late", late=True, expires_in_s=15.0),
            member("misses", misses=["calm"], expires_in_s=60.0),
        ]
        await show(parts, members, cluster={"whole": False, "gaps_count": 1})
        signs = await parts.locator("#picture .sign").all_text_contents()
        assert signs == ["", "", "!", "?"]
        dashes = [
            await ring.get_attribute("stroke-dasharray")
            for ring in await parts.locator("#picture .life").all()
        ]
        lengths = [float((dash or "").split()[0]) for dash in dashes]
        assert lengths[1] == pytest.approx(lengths[0] / 2, rel=0.02)
        assert lengths[2] == pytest.approx(lengths[0] / 4, rel=0.02)

    async def test_what_is_selected_in_the_details_stays(self, parts: Page) -> None:
        select = """() => {
            const range = document.createRange();
            range.selectNodeContents(document.querySelector("#details dd"));
            getSelection().removeAllRanges();
            getSelection().addRange(range);
        }"""
        await show(parts, [member("a"), member("b")])
        await parts.evaluate('choose("a")')
        await parts.evaluate(select)
        await show(parts, [member("a", age_s=45.0, expires_in_s=15.0), member("b", late=True)])
        assert "written 45 s ago" in await parts.inner_text("#details")
        assert await parts.evaluate("String(getSelection())") == "10.0.0.1:7800"
        await parts.evaluate('(getSelection().removeAllRanges(), choose("a"))')
        assert "Point at a node" in await parts.inner_text("#details")

    async def test_a_join_does_not_scroll_to_the_node_with_the_focus(self, browser: Browser) -> None:
        async with agent() as own, opened(browser, own.base, size=(1280, 500)) as seen:
            for number in range(40):
                own.plant(f"node-{number}")
            await seen.count("#picture .node", 41, LIMIT_S * 1000)
            await seen.page.locator("#picture .node >> nth=1").focus()
            await seen.page.evaluate("scrollTo(0, document.body.scrollHeight)")
            before = await seen.page.evaluate("scrollY")
            assert before > 0
            own.plant("zz")
            await seen.count("#picture .node", 42)
            assert await seen.page.evaluate("scrollY") >= before
            assert await seen.page.evaluate('document.activeElement.matches(".node")')

    async def test_five_hundred_with_gaps_are_drawn_within_a_second(self, parts: Page) -> None:
        names = [f"broker-{number:03}" for number in range(500)]
        members = [
            member(name, misses=names[:250] if number >= 250 else names[250:])
            for number, name in enumerate(names)
        ]
        cluster = {"whole": False, "gaps_count": 62_500, "gaps": [[names[0], name] for name in names[250:]]}
        await show(parts, members, cluster=cluster)
        # The processor's time, so that a busy machine does not count.
        session = await parts.context.new_cdp_session(parts)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})

        async def worked_s() -> float:
            metrics = (await session.send("Performance.getMetrics"))["metrics"]
            return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

        before_s = await worked_s()
        await show(parts, [*members, member("late-comer")], cluster=cluster)
        assert await worked_s() - before_s < 1.0
        await session.detach()


async def test_rows_of_those_that_left_are_forgotten(parts: Page) -> None:
    await show(parts, [member("a"), member("b")])
    await show(parts, [member("b")])
    assert await parts.evaluate("[...list.rows.keys()]") == ["b"]


async def test_an_observer_that_starts_in_an_outage_claims_nothing(browser: Browser) -> None:
    clock, cable = SystemClock(), Cable(MemoryBucket(RealTime()))
    cable.cut = UnreachableError("no answer from the store")
    settings = make_settings(poll_interval="200ms", http_port="1")
    async with (
        Discovery(settings, cable, clock=clock) as discovery,
        serving(0, Running(settings, discovery, clock, lambda: None)) as (host, port),
        opened(browser, f"http://{host}:{port}") as seen,
    ):
        await seen.text(".tiles", "Not known yet", LIMIT_S * 1000)
        await expect(seen.page).to_have_title("✕ not known yet · s3discovery")
        cable.cut = None
        await seen.text(".tiles", "nobody is there", LIMIT_S * 1000)


async def labels(page: Page, names: Sequence[str], limit: int) -> list[str]:
    found: list[str] = await page.evaluate(
        """([names, limit]) => {
            const short = shortener(names);
            return names.map((name) => short(name, limit));
        }""",
        [list(names), limit],
    )
    return found


def aws(number: int, region: str = "eu-central-1") -> str:
    return f"ip-10-0-{number // 20}-{number}.{region}.compute.internal"


class TestLabels:
    @pytest.mark.parametrize(
        "names",
        [
            [*map(aws, range(49)), "own"],
            [*map(aws, range(30)), *(aws(number, "us-east-1") for number in range(30))],
            [f"cluster-{side}-with-a-long-name-{number:02}-blue" for side in "ab" for number in range(20)],
            [f"{letter * 40}" for letter in "abc"] + ["a" * 41, "a" * 42],
            ["👩‍💻" * number for number in range(1, 12)],
            ["a\u202eb", "a‹U+202E›b", "x…y", "x" * 9, "x" * 30, "__proto__", "constructor"],
            ["alone-with-a-name-that-fits-nowhere"],
            [],
        ],
    )
    async def test_no_two_are_the_same_and_all_fit(self, parts: Page, names: list[str]) -> None:
        for limit in LABEL_LIMITS:
            found = await labels(parts, names, limit)
            assert len(set(found)) == len(names), found
            assert max(map(len, found), default=0) <= limit
            # Whoever is asked, and in whatever order: the same.
            assert await labels(parts, names[::-1], limit) == found[::-1]

    async def test_what_most_share_goes_first(self, parts: Page) -> None:
        names = [*(f"ip-10-0-0-{number}.eu-central-1.compute.internal" for number in range(49)), "own"]
        assert (await labels(parts, names, 14))[::-1][:3] == ["own", "ip-10-0-0-48…", "ip-10-0-0-47…"]
        assert (await labels(parts, names, 9))[::-1][:2] == ["own", "…48…"]
        assert await labels(parts, ["node-1", "node-2"], 9) == ["node-1", "node-2"]
