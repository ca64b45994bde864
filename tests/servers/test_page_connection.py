"""The page while its agent cannot be asked, or not by everybody: never live without an answer."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from s3discovery.testing.pages import LIMIT_S, SEEN_MS, Relay, Seen, agent, launched, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABS = 7  # one more than the connections that a browser opens to a host
# What a browser does with a tab that nobody looks at; `hide(false)` is to look at it again.
HIDING = """() => {
    let isHidden = false;
    Object.defineProperty(document, "hidden", { get: () => isHidden });
    window.hide = (value) => { isHidden = value; document.dispatchEvent(new Event("visibilitychange")); };
}"""
NOTING = """() => {
    const pill = document.getElementById("live");
    window.states = [];
    new MutationObserver(() => states.push(pill.textContent)).observe(pill, { childList: true });
}"""
LIVE_IN_TIME_MS = 7000.0  # the next attempt may be 5 s away


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    async with launched(chromium_path) as found:
        yield found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - the browser tells of no change
            await asyncio.sleep(0.02)


def _has_asked(seen: Seen, wanted: set[str], since: int) -> bool:
    return wanted <= {"/" + url.split("/", 3)[-1] for url in seen.requests[since:]}


def streams(seen: Seen) -> int:
    return sum(url.endswith("/v1/events") for url in seen.requests)


async def test_seven_tabs_of_one_agent_are_all_live_when_they_are_looked_at(browser: Browser) -> None:
    async with agent() as own:
        context = await browser.new_context()
        context.set_default_timeout(LIMIT_S * 1000)
        await context.add_init_script(f"({HIDING})()")
        tabs: list[Page] = []
        for _ in range(TABS):
            if tabs:
                await tabs[-1].evaluate("hide(true)")
            tabs.append(await context.new_page())
            await tabs[-1].goto(own.base + "/")
            await expect(tabs[-1].locator("#picture .node")).to_have_count(1)
        own.plant("a")
        await expect(tabs[-1].locator("#picture .node")).to_have_count(2, timeout=SEEN_MS)
        # Those that nobody looks at ask for it without a stream, more seldom: their titles are read.
        await expect(tabs[0]).to_have_title("2 members · s3discovery", timeout=LIMIT_S * 1000)
        await tabs[-1].evaluate("hide(true)")
        await tabs[0].evaluate("hide(false)")
        own.plant("b")
        await expect(tabs[0].locator("#picture .node")).to_have_count(3, timeout=SEEN_MS)
        await expect(tabs[0].locator("#events")).to_contain_text("a joined")
        await expect(tabs[0].locator("#live")).to_have_text("live")
        await context.close()


async def test_a_tab_that_is_shown_again_asks_at_once(browser: Browser) -> None:
    async with agent() as own, opened(browser, own.base, clock=True) as seen:
        await seen.count("#picture .node", 1, LIMIT_S * 1000)
        await seen.page.evaluate(HIDING)
        # Nothing is done for the passing of time from now on.
        await seen.page.clock.pause_at(await seen.page.evaluate("Date.now()") / 1000 + 1)
        for is_hidden, wanted in ((True, {"/v1/status"}), (False, {"/v1/events", "/v1/status"})):
            before = len(seen.requests)
            await seen.page.evaluate("(isHidden) => hide(isHidden)", is_hidden)
            await until(partial(_has_asked, seen, wanted, before))
        await seen.text("#live", "live")


async def test_what_has_no_event_is_asked_for(browser: Browser) -> None:
    async with (
        agent(file_expiration="6h", update_interval="3h") as own,
        opened(browser, own.base) as seen,
    ):
        own.plant("a", age_s=600)
        await seen.text("#list tbody", "10 min", LIMIT_S * 1000)
        own.plant("a", age_s=1200)
        await seen.text("#list tbody", "20 min", LIMIT_S * 1000)


async def test_ages_go_on_between_two_answers(browser: Browser) -> None:
    slow = {"file_expiration": "60s", "update_interval": "30s", "poll_interval": "60s"}
    async with agent(**slow) as own, opened(browser, own.base, clock=True) as seen:
        await seen.count("#picture .node", 1, LIMIT_S * 1000)
        await until(lambda: seen.requests[-1].endswith("/v1/members"))
        ring = seen.page.locator("#picture .life >> nth=0")
        before = await ring.get_attribute("stroke-dasharray") or "", len(seen.requests)
        await seen.page.clock.fast_forward(8_000)  # less than the 15 s until the page asks again
        older = re.compile("^(8|9|1[0-9]) s")
        await expect(seen.page.locator("#list td.number >> nth=0")).to_have_text(older)
        await expect(seen.page.locator("#picture .age")).to_have_text(older)
        await expect(ring).not_to_have_attribute("stroke-dasharray", before[0])
        assert len(seen.requests) == before[1], "the page asked for it instead of counting"


async def test_silent_connections_are_given_up(browser: Browser) -> None:
    """They stay open and say nothing: a NAT that forgot, a proxy that hangs."""
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(agent())
        relay = await stack.enter_async_context(Relay(own.base))
        seen = await stack.enter_async_context(opened(browser, relay.base, faulty=True, clock=True))
        await seen.count("#picture .node", 1, LIMIT_S * 1000)
        await seen.text("#live", "live")
        await seen.page.evaluate(NOTING)
        before = len(seen.requests)
        relay.silence()
        own.plant("a")
        await until(lambda: relay.base + "/v1/status" in seen.requests[before:])
        await seen.page.clock.fast_forward(10_000)
        await seen.count("#picture .node", 2, LIVE_IN_TIME_MS)
        assert await seen.page.evaluate("states") == ["connection lost", "live"]


async def test_a_silent_stream_is_opened_anew(browser: Browser) -> None:
    async with agent() as own, opened(browser, own.base, clock=True) as seen:
        await seen.count("#picture .node", 1, LIMIT_S * 1000)
        assert streams(seen) == 1
        # All requests but the stream go on.
        await seen.page.clock.fast_forward(26_000)
        await until(lambda: streams(seen) >= 2)
        await seen.text("#live", "live", LIVE_IN_TIME_MS)


async def test_documents_that_fail_are_not_live_though_the_stream_is(browser: Browser) -> None:
    async with agent() as own, opened(browser, own.base, faulty=True) as seen:
        await seen.count("#picture .node", 1, LIMIT_S * 1000)
        await seen.page.route("**/v1/status", lambda route: route.fulfill(status=500))
        own.plant("a")
        await seen.text("#live", "connection lost", LIMIT_S * 1000)
        await seen.text("#lost-what", "is lost. Trying again.")
        # However often the stream opens.
        await seen.page.evaluate(NOTING)
        await until(lambda: streams(seen) >= 4)
        assert await seen.page.evaluate("states") == []
        await seen.page.unroute("**/v1/status")
        await seen.text("#live", "live", LIVE_IN_TIME_MS)
        await seen.count("#picture .node", 2)


async def test_an_agent_started_anew_begins_a_new_history(browser: Browser) -> None:
    async with AsyncExitStack() as stack:
        old, new = [await stack.enter_async_context(agent(file_expiration="60s")) for _ in range(2)]
        relay = await stack.enter_async_context(Relay(old.base))
        seen = await stack.enter_async_context(opened(browser, relay.base, faulty=True))
        old.plant("a")
        await seen.text("#events", "a joined", LIMIT_S * 1000)
        await relay.cut()
        await seen.text("#live", "connection lost")
        relay.target = new.base
        await relay.mend()
        await seen.text("#live", "live", LIVE_IN_TIME_MS)
        await seen.count("#picture .node", 1)
        await expect(seen.page.locator("#events")).not_to_contain_text("a joined")
        # Time goes on again.
        cell = seen.page.locator("#list td.number >> nth=0")
        await expect(cell).not_to_have_text(await cell.inner_text(), timeout=LIMIT_S * 1000)


async def test_a_token_that_was_changed_is_asked_for_again(browser: Browser, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    async with agent(http_token_file=str(token)) as own, opened(browser, own.base, faulty=True) as seen:
        await seen.page.fill("#token", "first")
        await seen.page.keyboard.press("Enter")
        await seen.count("#picture .node", 1, LIMIT_S * 1000)
        token.write_text("second-one")
        own.plant("a")
        await expect(seen.page.locator("#entry")).to_be_visible(timeout=LIMIT_S * 1000)
        await expect(seen.page.locator("#shown")).to_be_hidden()
        await seen.text("#live", "token needed")
        await expect(seen.page.locator("#lost")).to_be_hidden()
        # Who goes for the token to another window loses nothing that he typed.
        await seen.page.fill("#token", "second")
        await seen.page.evaluate(HIDING)
        await seen.page.evaluate("(hide(true), hide(false))")
        await seen.page.locator("#token").press_sequentially("-one")
        await seen.page.keyboard.press("Enter")
        await seen.count("#picture .node", 2)
        await seen.text("#live", re.compile("^live$"))
