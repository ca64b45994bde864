"""The page in a real browser: what people see, how soon, and that nothing in a bucket can do harm there."""

import asyncio
import base64
import re
import sys
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from s3discovery.bucket import Listing
from s3discovery.demo.child import choose_ports, end, start
from s3discovery.errors import CodecError, UnreachableError
from s3discovery.http.page import assembled
from s3discovery.node import check_cluster_id
from s3discovery.running import ClusterState
from s3discovery.testing import HOSTILE_TEXTS
from s3discovery.testing.pages import LIMIT_S, SEEN_MS, Relay, agent, launched, opened
from s3discovery.testing.stores import Store, way_to

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMAGES = Path(__file__).parents[2] / "docs" / "images"
COMMAND = Path(sys.executable).with_name("s3discovery")
TELLING = {"curve": "key"}  # what nodes publish whose broker can tell
PHONE = (360, 780)
ATTACKS = (
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "</script><script>window.pwned=1</script>",
    '"><svg onload=window.pwned=1>',
    "' onmouseover='window.pwned=1",
    "javascript:window.pwned=1",
    "</bdi></td><iframe srcdoc='<script>parent.pwned=1</script>'>",
    "__proto__",
    "constructor",
    "\u202etxt.exe\u2066",
    "a" + "\u0301" * 40,
    "\u2800\u3164",
    "א" * 20,
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    async with launched(chromium_path) as found:
        yield found


class TestLive:
    async def test_who_joins_leaves_and_expires_is_seen_at_once(self, browser: Browser) -> None:
        async with (
            agent(file_expiration="4s", update_interval="1s") as own,
            opened(browser, own.base) as seen,
        ):
            await seen.count("#picture .node", 1, LIMIT_S * 1000)
            await seen.text("#wrong", "Nothing is wrong")
            own.plant("a", "2001:db8::7")
            await seen.count("#picture .node", 2)
            await seen.text("#list tbody", "[2001:db8::7]:7800")
            await seen.text("#events", "a joined at [2001:db8::7]:7800")
            own.bucket.drop("nodes/a")
            await seen.count("#picture .node", 1)
            await seen.text("#events", "a left")
            own.plant("b", age_s=2)
            await seen.text("#list tbody", "b")
            # Its file is never refreshed: it is late, and then expires, which takes 2 s.
            await seen.text("#events", "b expired: its file was", 2000 + SEEN_MS)
            await seen.count("#list tbody tr", 1)
            await expect(seen.page).to_have_title("1 member · s3discovery")

    async def test_an_outage_of_the_store_and_its_end(self, browser: Browser) -> None:
        async with agent() as own, opened(browser, own.base) as seen:
            own.plant("a")
            await seen.count("#picture .node", 2, LIMIT_S * 1000)
            own.cable.cut = UnreachableError("no answer from the store")
            await seen.text(".trouble[data-severity=bad]", "no answer from the store")
            await seen.text(".trouble[data-severity=bad] .cure", "What to do: Run s3discovery doctor")
            await seen.text(".tiles", "Failing")
            await seen.count("#picture .node[data-life=frozen]", 2)
            own.cable.cut = None
            await seen.text("#wrong", "Nothing is wrong")
            await seen.count("#picture .node[data-life=fresh]", 2)

    async def test_a_store_that_takes_requests_and_does_not_answer(self, browser: Browser) -> None:
        async def silent(prefix: str) -> Listing:
            never: asyncio.Future[Listing] = asyncio.get_running_loop().create_future()
            return await never

        async with agent() as own, opened(browser, own.base) as seen:
            await seen.text("#wrong", "Nothing is wrong", LIMIT_S * 1000)
            own.cable.list = silent  # type: ignore[method-assign]
            await seen.text("#wrong", "The store is slow")
            await seen.text(".tiles", "Slow")
            await seen.text("#events", "The store is slow")

    async def test_a_split_stands_apart_and_heals(self, browser: Browser) -> None:
        async with agent(TELLING) as own, opened(browser, own.base) as seen:
            for name in "abcd":
                own.plant(name)
            await seen.count("#picture .node", 5, LIMIT_S * 1000)
            for name in "ab":
                own.plant(name, state="formed", missing="c,d,own")
            for name in "cd":
                own.plant(name, state="formed", missing="a,b")
            own.plant("e", state="blank")
            await seen.count(".group.part", 2)
            await seen.text(".group.part >> nth=0", "Part 1 of 2 · 3 nodes")
            assert await seen.page.locator(".group.part >> nth=1 >> .node").count() == 2
            await seen.text(".trouble[data-severity=bad]", "split into 2 parts, of 3 and 2 nodes")
            await seen.text(".group.waiting", "Waiting to join")
            for name in "abcde":
                own.plant(name, state="formed", missing="b" if name == "a" else "")
            await seen.count(".group.whole .gap", 1)
            await seen.text("#wrong", "a does not see b")

    async def test_whom_the_own_broker_does_not_see_is_seen_at_once(self, browser: Browser) -> None:
        async with agent(TELLING) as own, opened(browser, own.base) as seen:
            own.state = ClusterState("formed 3/3", is_whole=True, is_ready=True)
            for name in "ab":
                own.plant(name, curve="key")
            await seen.count("#picture .link", 3, LIMIT_S * 1000)
            missing = frozenset({"b"})
            own.state = ClusterState("incomplete 2/3, waiting for 'b'", is_ready=True, missing=missing)
            await seen.count("#picture .gap", 1)
            await seen.text(".tiles", "Incomplete")
            await seen.text("#events li >> nth=0", "the broker of this node: incomplete 2/3, waiting for 'b'")

    async def test_a_lost_connection_is_told_and_the_stream_goes_on(self, browser: Browser) -> None:
        async with agent() as own, Relay(own.base) as relay, opened(browser, relay.base, faulty=True) as seen:
            await seen.count("#picture .node", 1, LIMIT_S * 1000)
            await relay.cut()
            await seen.text("#lost", re.compile(r"What you see is as of \d+ s ago\."))
            # Nobody knows whether nothing is wrong.
            await expect(seen.page.locator("#wrong")).to_have_text("")
            await expect(seen.page).to_have_title("connection lost · s3discovery")
            await seen.text("#live", "connection lost")
            own.plant("a")
            own.plant("b")
            await relay.mend()
            await seen.count("#picture .node", 3, 7000)  # the next attempt may be 5 s away
            await expect(seen.page.locator("#lost")).to_be_hidden()
            await seen.text("#live", "live")
            await seen.text("#wrong", "Nothing is wrong")
            events = await seen.page.locator("#events li").all_inner_texts()
            assert sum("joined" in text for text in events) == 3
            assert any(request.startswith("last-event-id: ") for request in relay.headers)


class TestHostile:
    async def test_what_is_in_the_bucket_is_text_and_does_nothing(self, browser: Browser) -> None:
        ids = [text for text in (*ATTACKS, *HOSTILE_TEXTS) if _is_id(text)]
        async with agent() as own:
            for name in ids:
                own.plant(name, name if len(name) < 200 else "long", state="formed", broker=name[:60])
            own.plant("misses", missing=urllib.parse.quote(ATTACKS[1], safe=""))
            own.bucket.plant(f"nodes/x{ATTACKS[0]}", b"garbage")
            async with opened(browser, own.base) as seen:
                await seen.count("#list tbody tr", len(ids) + 2, LIMIT_S * 1000)
                names = await seen.page.locator("#list tbody th bdi").all_inner_texts()
                assert set(ATTACKS[:7]) <= set(names)
                assert {"‹U+202E›txt.exe‹U+2066›", "‹U+2800›‹U+3164›"} <= set(names)
                # Nothing that hides, reorders or overprints is left anywhere.
                shown = await seen.page.inner_text("body")
                assert re.search("[\u200b-\u200f\u202a-\u202e\u2066-\u2069]|\u0301{3}", shown) is None
                await seen.page.fill("#find", "<img")
                await seen.text("#list tbody th >> nth=0", ATTACKS[1])
                await seen.page.locator("#list tbody tr >> nth=0").click()
                await seen.text("#details h3", ATTACKS[1])
                for tag, count in {"script": 1, "style": 1, "img": 0, "iframe": 0}.items():
                    assert await seen.page.locator(tag).count() == count
                assert await seen.page.evaluate("window.pwned") is None

    async def test_the_policy_lets_nothing_else_run_or_load(self, browser: Browser) -> None:
        async with agent() as own, opened(browser, own.base, faulty=True) as seen:
            await seen.count("#picture .node", 1, LIMIT_S * 1000)
            made = await seen.page.evaluate(_TRIES)
            assert made == [*[True] * 6, None]
            assert any("Content Security Policy" in error for error in seen.errors)
            seen.requests = [url for url in seen.requests if "127.0.0.2" not in url]

    async def test_a_script_that_got_into_the_page_does_not_run(self, browser: Browser) -> None:
        """The document as it is served, with one more script in it."""
        async with agent() as own, aiohttp.ClientSession() as session:
            async with session.get(own.base + "/") as answer:
                policy, html = answer.headers["Content-Security-Policy"], await answer.text()
            assert html == assembled().html
            assert "unsafe" not in policy
            context = await browser.new_context()
            page = await context.new_page()
            more = html.replace("<body>", "<body><script>window.pwned = 1</script><p onclick='1'>there</p>")
            await page.route(
                "**/*",
                lambda route: route.fulfill(
                    body=more, content_type="text/html", headers={"Content-Security-Policy": policy}
                ),
            )
            await page.goto(own.base + "/")
            assert await page.inner_text("p >> nth=0") == "there"
            assert await page.evaluate("window.pwned") is None
            await context.close()


# What an attacker might try who got so far; True for each that is refused.
_TRIES = """async () => {
    const refused = async (act) => { try { await act(); return false; } catch { return true; } };
    const script = document.createElement("script");
    const isScript = await refused(() => { script.textContent = "pwned = 1"; document.body.append(script); });
    const isHandler = await refused(() => document.body.setAttribute("onclick", "window.pwned = 1"));
    document.body.click();
    const isMarkup = await refused(() => { document.body.innerHTML = "<b>"; });
    // Later, and so not in the name of the debugger, which may.
    const isEval = await new Promise((done) =>
        setTimeout(async () => done(await refused(() => (0, eval)("window.pwned = 1")))));
    const isElsewhere = await refused(() => fetch("http://127.0.0.2:1/"));
    const image = new Image();
    const isImage = await new Promise((done) => {
        image.onerror = () => done(true);
        image.onload = () => done(false);
        image.src = "/healthz";
    });
    return [isScript, isHandler, isMarkup, isEval, isElsewhere, isImage, window.pwned ?? null];
}"""


def _is_id(text: str) -> bool:
    try:
        check_cluster_id(text)
    except CodecError:
        return False
    return "||||" not in text


class TestEverybody:
    async def test_axe_finds_no_serious_fault(self, browser: Browser) -> None:
        axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
        async with agent() as own, opened(browser, own.base, bypass_csp=True) as seen:
            own.plant("a")
            own.plant("b", missing="a")
            own.bucket.plant("nodes/x", b"garbage")
            await seen.count("#picture .node", 3, LIMIT_S * 1000)
            await seen.text("#wrong", "a")
            await seen.page.evaluate(axe)
            faults = {}
            # What depends neither on colours nor on sizes is looked at once.
            for scheme, size, rules in (
                ("light", (1280, 900), None),
                ("dark", (1280, 900), ["color-contrast", "target-size"]),
                ("dark", PHONE, None),
                ("light", PHONE, ["color-contrast", "target-size"]),
            ):
                await seen.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # one of the two
                await seen.page.set_viewport_size({"width": size[0], "height": size[1]})
                options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
                result = await seen.page.evaluate("(options) => axe.run(document, options)", options)
                assert result["passes"], "axe looked at nothing"
                faults[scheme, size] = [
                    (fault["id"], [node["html"] for node in fault["nodes"]][:3])
                    for fault in result["violations"]
                    if fault["impact"] in ("serious", "critical")
                ]
                width = await seen.page.evaluate("document.documentElement.scrollWidth")
                assert width <= size[0], "it scrolls sideways"
            assert not any(faults.values()), faults

    async def test_everything_is_done_by_keyboard(self, browser: Browser) -> None:
        async with agent() as own, opened(browser, own.base) as seen:
            page, press = seen.page, seen.page.keyboard.press
            own.plant("a")
            own.plant("b", age_s=5)
            await seen.count("#picture .node", 3, LIMIT_S * 1000)
            stops = []
            for _ in range(30):
                await press("Tab")
                stop = await page.evaluate(_FOCUSED)
                if stop is None:
                    break
                assert stop["isMarked"], f"no sign of the focus at {stop['name']}"
                stops.append(stop["name"])
            assert stops[0] == "Skip to the list of members"
            assert stops[1].startswith("◐ Colours: auto")
            # The nodes are one stop.
            assert len([name for name in stops if name.endswith(", refreshed in time")]) == 1
            await page.locator("#picture .node >> nth=0").focus()
            await press("ArrowRight")
            await press("Enter")
            chosen = page.locator("#picture .node[aria-pressed=true]")
            assert (await chosen.get_attribute("aria-label") or "").startswith("b, ")
            await press("End")
            await seen.text("#details", "own")
            await press("Escape")
            await seen.count("#picture .node[aria-pressed=true]", 0)
            await page.locator("thead button >> nth=0").focus()
            await press("Space")
            assert await page.locator("thead th >> nth=0").get_attribute("aria-sort") == "descending"
            assert await page.locator("tbody th bdi").all_inner_texts() == ["own", "b", "a"]
            await page.locator("#theme").focus()
            backs = {"light": "rgb(244, 246, 248)", "dark": "rgb(16, 21, 28)"}
            for theme, back in backs.items():
                await press("Enter")
                assert await page.evaluate("getComputedStyle(document.documentElement).colorScheme") == theme
                assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == back
            await page.locator(".skip").focus()
            await press("Enter")
            assert await page.evaluate("document.activeElement.id") == "members"

    async def test_the_list_is_found_and_sorted(self, browser: Browser) -> None:
        async with agent(TELLING) as own, opened(browser, own.base) as seen:
            for number in (1, 2, 10):
                own.plant(f"node-{number}", f"10.1.0.{number}", age_s=number, **TELLING)
            own.plant("sleeper", state="blank", age_s=40)
            await seen.count("#list tbody tr", 5, LIMIT_S * 1000)
            names = seen.page.locator("#list tbody th bdi")
            assert await names.all_inner_texts() == ["node-1", "node-2", "node-10", "own", "sleeper"]
            await seen.page.click("thead button >> nth=1")
            assert (await names.all_inner_texts())[:2] == ["sleeper", "own"]
            await seen.page.fill("#find", "10.1.0.1")
            assert await names.all_inner_texts() == ["node-1", "node-10"]
            await seen.text("#count", "2 of 5")
            await seen.page.fill("#find", "")
            await seen.page.select_option("#which", "waiting")
            assert await names.all_inner_texts() == ["sleeper"]
            await seen.page.select_option("#which", "late")
            assert await names.all_inner_texts() == ["sleeper"]

    async def test_five_hundred_nodes_are_readable_and_quick(self, browser: Browser) -> None:
        async with agent() as own, opened(browser, own.base, size=PHONE) as seen:
            for number in range(1, 500):
                own.plant(f"node-{number}", f"10.1.{number // 200}.{number % 200}")
            await seen.count("#picture .node", 500, LIMIT_S * 1000)
            await seen.count("#list tbody tr", 500)
            await seen.count("#events li", 200)
            await seen.text("#announcer", re.compile(r"^\d+ joined"), LIMIT_S * 1000)
            assert await seen.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
            box = await seen.page.locator("#picture .node >> nth=0").bounding_box()
            assert box is not None
            assert box["width"] >= 16  # wide enough to be hit
            # What is done at every tick and at every answer, together: far less than a second.
            await seen.page.fill("#find", "node-499")
            await seen.count("#list tbody tr", 1)
            own.bucket.drop("nodes/node-499")
            await seen.count("#picture .node", 499)


_FOCUSED = """() => {
    const at = document.activeElement;
    if (at === document.body) return null;
    const marked = [at, ...at.querySelectorAll(".halo")].some((element) => {
        const style = getComputedStyle(element);
        return parseFloat(style.outlineWidth) >= 2 && style.outlineStyle !== "none" ||
            style.stroke !== "none" && parseFloat(style.strokeWidth) >= 3;
    });
    return { name: at.getAttribute("aria-label") ?? at.textContent, isMarked: marked };
}"""


async def test_the_token_is_asked_for_once_and_kept_for_the_tab(browser: Browser) -> None:
    async with agent(http_token="t0ken-123") as own, opened(browser, own.base, faulty=True) as seen:
        page = seen.page
        await expect(page.locator("#entry")).to_be_visible(timeout=LIMIT_S * 1000)
        assert await page.evaluate("document.activeElement.id") == "token"
        await page.keyboard.type("wrong")
        await page.keyboard.press("Enter")
        await seen.text("#refused", "was not accepted")
        await page.keyboard.type("t0ken-123")
        await page.keyboard.press("Enter")
        await seen.count("#picture .node", 1)
        await page.reload()
        await seen.count("#picture .node", 1, LIMIT_S * 1000)
        await page.evaluate("window.isSame = true")
        assert not any("t0ken" in url for url in seen.requests)
        assert await page.evaluate("JSON.stringify(localStorage)") == '{"s3discovery-theme":""}'
        own.plant("a")
        await seen.count("#picture .node", 2)


@asynccontextmanager
async def process(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    with (folder / "log").open("ab") as log:
        child = await start([str(COMMAND), *arguments], folder=folder, environ={"PATH": "/usr/bin"}, log=log)
        try:
            yield child
        finally:
            await end(child)


async def test_real_nodes_on_a_real_store(browser: Browser, seaweedfs: Store, tmp_path: Path) -> None:
    bucket, port = seaweedfs.new_bucket(), choose_ports(["page"])["page"]
    values: Mapping[str, str] = {
        **way_to(bucket, seaweedfs.endpoint, seaweedfs.credentials),
        "file-expiration": "4s",
        "update-interval": "1s",
        "poll-interval": "300ms",
        "file-prefix": "nodes/",
        "bind-address": "10.0.0.1",
    }
    (tmp_path / "a.properties").write_text("".join(f"{key}={text}\n" for key, text in values.items()))

    def run(name: str, *more: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        return process(tmp_path, "run", "-c", "a.properties", "-o", f"cluster-id={name}", "-o", *more)

    async with run("one", f"http-port={port}"):
        base = f"http://127.0.0.1:{port}"
        await _until_it_serves(base)
        async with opened(browser, base) as seen:
            await seen.text("#list tbody", "one", LIMIT_S * 1000)
            await seen.text(".tiles", "registered")
            async with run("two", "bind-port=7801") as two:
                await seen.text("#list tbody", "10.0.0.1:7801", LIMIT_S * 1000)
                two.kill()
                await seen.text("#wrong", re.compile("late: .*two"), LIMIT_S * 1000)
                await seen.text("#events", "two expired", LIMIT_S * 1000)
            await seen.text("#wrong", "Nothing is wrong", LIMIT_S * 1000)


async def _until_it_serves(base: str) -> None:
    async with asyncio.timeout(LIMIT_S), aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(base + "/healthz") as answer:
                    assert answer.status == 200
                    return
            await asyncio.sleep(0.05)


@pytest.mark.screenshots
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scene", ["3-nodes", "50-nodes", "500-nodes", "split", "phone"])
async def test_screenshots(browser: Browser, scene: str, scheme: str) -> None:
    """Draws docs/images anew."""
    count = int(scene.split("-", maxsplit=1)[0]) if scene[0].isdigit() else 8
    size = (390, 844) if scene == "phone" else (1280, 860)
    async with agent(TELLING, file_expiration="6h", update_interval="3h", poll_interval="1s") as own:
        own.state = ClusterState(f"formed {count}/{count}", is_whole=True, is_ready=True)
        names = [f"broker-{number}" for number in range(1, count)]
        sides = names[: len(names) // 2], names[len(names) // 2 :]
        for number, name in enumerate(names):
            near = name in sides[0]
            missing = ",".join((*sides[1], "own") if near else sides[0]) if scene == "split" else ""
            is_late = count > 10 and number % 23 == 11
            age_s = 13600 + number * 61 % 7800 if is_late else number * 2377 % 10000
            host = f"10.0.{number // 200}.{number % 200 + 10}"
            own.plant(name, host, age_s=age_s, state="formed", missing=missing)
        async with opened(browser, own.base, size=size, color_scheme=scheme) as seen:
            await seen.count("#picture .node", count, LIMIT_S * 1000)
            if scene == "3-nodes":
                await seen.page.locator("#picture .node >> nth=0").click()
            await seen.page.mouse.move(0, 0)
            picture = await seen.page.screenshot()
        (IMAGES / f"page-{scene}-{scheme}.webp").write_bytes(await _as_webp(browser, picture))


async def _as_webp(browser: Browser, png: bytes) -> bytes:
    """Have the browser, which can, write a picture in a third of the room."""
    page = await browser.new_page()
    found = await page.evaluate(
        """async (url) => {
            const image = new Image();
            image.src = url;
            await image.decode();
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.width, image.height];
            canvas.getContext("2d").drawImage(image, 0, 0);
            return canvas.toDataURL("image/webp", 0.75);
        }""",
        f"data:image/png;base64,{base64.b64encode(png).decode()}",
    )
    await page.close()
    return base64.b64decode(found.split(",", 1)[1])
