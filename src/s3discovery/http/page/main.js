// How it goes together: a snapshot first, then every event makes the page ask for the state it led to.

const ASK_AGAIN_S = [2, 15]; // for what has no event, such as a refreshed file: at the poll interval, within these
const THEMES = { "": "auto", light: "light", dark: "dark" };
let isAsking = false;
let isDirty = false;
let askAgain = null;
let lostAt = null;

function show() {
  $("shown").hidden = false;
  $("entry").hidden = true;
  showTroubles();
  showTiles();
  showPicture();
  showList();
}

async function refresh() {
  if (isAsking) { isDirty = true; return; }
  isAsking = true;
  clearTimeout(askAgain);
  try {
    do {
      isDirty = false;
      const [status, members] = await Promise.all([agent.document("/v1/status"), agent.document("/v1/members")]);
      take(status, members);
      show();
    } while (isDirty);
  } catch { /* the stream notices as well, and says so */ }
  isAsking = false;
  const every = Math.min(ASK_AGAIN_S[1], Math.max(ASK_AGAIN_S[0], known.status ? known.status.poll_interval_s : 0));
  askAgain = setTimeout(() => { if (!known.isLost && !document.hidden) refresh(); }, every * 1000);
}

function onEvent(event) {
  if (event.event === "snapshot") {
    const { status, members, events } = event.data;
    take(status, members);
    $("events").replaceChildren();
    showEvents(events);
    show();
    refresh();
    return;
  }
  showEvents([event]);
  announce(event);
  refresh();
}

function onOpen() {
  known.isLost = false;
  lostAt = null;
  $("lost").hidden = true;
  document.body.classList.remove("stale");
  mark($("live"), "data-state", "live");
  say($("live"), "live");
  if (known.status) refresh();
}

function onLost() {
  if (lostAt === null) {
    lostAt = Date.now() / 1000;
    known.isLost = true;
    known.frozen ??= performance.now();
    document.body.classList.add("stale");
    mark($("live"), "data-state", "lost");
    say($("live"), "connection lost");
    say($("lost"), known.status
      ? `The connection to this agent is lost. What you see is as of ${clockTime(lostAt)}, and old. Trying again.`
      : "This agent does not answer. Trying again.");
    $("lost").hidden = false;
  }
}

function onRefused(hadToken) {
  $("shown").hidden = true;
  $("entry").hidden = false;
  mark($("live"), "data-state", "locked");
  say($("live"), "token needed");
  say($("refused"), hadToken ? "That token was not accepted." : "");
  $("token").value = "";
  $("token").focus();
}

function tick() {
  if (!known.status || known.isLost || document.hidden) return;
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
document.addEventListener("visibilitychange", () => { if (!document.hidden && known.status && !known.isLost) refresh(); });
startPicture();
startList();
setInterval(tick, 1000);
agent.run();
