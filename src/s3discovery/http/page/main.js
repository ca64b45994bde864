// How it goes together: a snapshot first, then every event makes the page ask for the state it led to.

const ASK_AGAIN_S = [2, 15]; // for what has no event, such as a refreshed file: at the poll interval, within these
const THEMES = { "": "auto", light: "light", dark: "dark" };
let isAsking = false;
let isDirty = false;
let askAgain = null;

function show() {
  $("shown").hidden = false;
  $("entry").hidden = true;
  showTroubles();
  showTiles();
  showTitle();
  showPicture();
  showList();
}

function showAnswer(status, members) {
  take(status, members);
  setLive(); // what was asked ends with the stream: no answer comes after a loss
  show();
}

async function refresh() {
  if (agent.isLocked) return;
  if (isAsking) { isDirty = true; return; }
  isAsking = true;
  clearTimeout(askAgain);
  try {
    do {
      isDirty = false;
      const answer = await agent.documents("/v1/status", "/v1/members");
      if (answer === null) break;
      showAnswer(...answer);
    } while (isDirty);
  } catch (error) {
    agent.fail(error); // what cannot be shown is not live
    throw error;
  } finally {
    isAsking = false;
    const every = Math.min(ASK_AGAIN_S[1], Math.max(ASK_AGAIN_S[0], known.status ? known.status.poll_interval_s : 0));
    askAgain = setTimeout(() => { if (agent.isOpen || document.hidden) refresh(); }, every * 1000);
  }
}

function onEvent(event) {
  if (event.event === "snapshot") {
    const { status, members, events } = event.data;
    $("events").replaceChildren();
    showEvents(events);
    showAnswer(status, members);
  } else {
    showEvents([event]);
    announce(event);
  }
  refresh();
}

// Not live before the state is known as well.
function onOpen() {
  if (known.status) refresh();
}

function setLive() {
  known.isLost = false;
  $("lost").hidden = true;
  say($("lost-what"), "");
  document.body.classList.remove("stale");
  mark($("live"), "data-state", "live");
  say($("live"), "live");
}

function onLost() {
  if (known.isLost) return;
  known.isLost = true;
  document.body.classList.add("stale");
  mark($("live"), "data-state", "lost");
  say($("live"), "connection lost");
  $("lost").hidden = false;
  say($("lost-what"), known.status ? "The connection to this agent is lost. Trying again." : "This agent does not answer. Trying again.");
  if (known.status) show();
  tick();
}

function onRefused(hadToken) {
  setLive();
  $("shown").hidden = true;
  $("entry").hidden = false;
  mark($("live"), "data-state", "locked");
  say($("live"), "token needed");
  document.title = "token needed · s3discovery";
  say($("refused"), hadToken ? "That token was not accepted." : "");
  $("token").value = "";
  $("token").focus();
}

function tick() {
  if (!known.status || agent.isLocked || document.hidden) return;
  if (known.isLost) {
    say($("lost-age"), `What you see is as of ${length(sinceAnswer())} ago.`);
    return;
  }
  showTiles();
  paintAges();
  tickList();
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  say($("theme-name"), THEMES[theme]);
  stored.set(localStorage, "s3discovery-theme", theme);
}

const agent = new Agent({ onEvent, onOpen, onLost, onRefused });
const savedTheme = stored.get(localStorage, "s3discovery-theme");
setTheme(savedTheme in THEMES ? savedTheme : "");
$("theme").addEventListener("click", () => {
  const themes = Object.keys(THEMES);
  setTheme(themes[(themes.indexOf(document.documentElement.dataset.theme ?? "") + 1) % themes.length]);
});
$("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  if (token) agent.enter(token);
});
// A browser opens six connections to a host at most, for all its tabs: a stream is for who looks at it.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    agent.close();
    refresh();
  } else agent.open();
});
startPicture();
startList();
setInterval(tick, 1000);
if (document.hidden) refresh();
else agent.open();
