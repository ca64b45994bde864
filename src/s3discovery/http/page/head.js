// What comes first: what is wrong and its cure, and four figures.

const SIGNS = { bad: "✕", warning: "!", note: "i" };
const SEVERITY_WORDS = { bad: "Broken", warning: "Warning", note: "Note" };
const shownTroubles = new Map();

function showTroubles() {
  const { troubles } = known.status;
  const area = $("wrong");
  const now = new Set(troubles.map((trouble) => trouble.kind));
  for (const kind of shownTroubles.keys()) if (!now.has(kind)) shownTroubles.delete(kind);
  const cards = troubles.map((trouble) => {
    if (!shownTroubles.has(trouble.kind)) {
      const parts = { title: make("bdi"), effect: make("bdi"), cure: make("bdi"), severity: make("span", { class: "unseen" }), sign: make("span", { class: "icon", "aria-hidden": true }) };
      parts.card = make("article", { class: "trouble" }, parts.sign,
        make("div", null, make("h3", null, parts.severity, parts.title), make("p", null, parts.effect),
          make("p", { class: "cure" }, make("strong", null, "What to do: "), parts.cure)));
      shownTroubles.set(trouble.kind, parts);
    }
    const parts = shownTroubles.get(trouble.kind);
    mark(parts.card, "data-severity", trouble.severity);
    say(parts.severity, `${SEVERITY_WORDS[trouble.severity]}: `);
    say(parts.sign, SIGNS[trouble.severity]);
    for (const name of ["title", "effect", "cure"]) say(parts[name], trouble[name]);
    return parts.card;
  });
  // That nothing is wrong is said of now alone.
  const wanted = cards.length || known.isLost ? cards : [shownTroubles.calm ??= make("p", { class: "calm" }, make("span", { class: "icon", "aria-hidden": true }, "✓"), "Nothing is wrong.")];
  if (wanted.length !== area.children.length || wanted.some((card, index) => area.children[index] !== card)) area.replaceChildren(...wanted);
}

const tiles = {};
function tile(name, value, more, state) {
  if (!tiles[name]) {
    tiles[name] = { value: make("bdi"), more: make("bdi") };
    tiles[name].box = make("div", null, make("dt", null, name), make("dd", null, make("span", { class: "value" }, tiles[name].value), make("span", { class: "more" }, tiles[name].more)));
    $("tiles").append(tiles[name].box);
  }
  say(tiles[name].value, value);
  say(tiles[name].more, more);
  mark(tiles[name].box, "data-state", state);
}

function showTiles() {
  const { status, members } = known;
  const { store } = status;
  tile("Cluster", ...verdict());

  const late = members.filter((member) => member.late).length;
  const soonest = members.map(remainingOf).filter((remaining) => remaining !== null).sort((one, other) => one - other)[0];
  const expiry = soonest === undefined ? "none expires" : soonest > 0 ? `oldest expires in ${length(soonest)}` : "some past expiry, kept";
  if (known.isListed) tile("Members", String(members.length), late ? `${late} late` : expiry, late ? "warning" : "good");
  else tile("Members", "Not known yet", members.length ? "but this node" : "the store has not been listed", "plain");

  const ago = listedAgo();
  const when = ago === null ? "not listed yet" : `listed ${length(ago)} ago, every ${interval(status.poll_interval_s)}`;
  const faulty = store.write_error || store.read_error;
  const isSlow = hasTrouble("slow");
  tile("Store", !store.answers ? "Failing" : faulty ? "Partly" : isSlow ? "Slow" : ago === null ? "Asked" : "Answers", when, !store.answers ? "bad" : faulty || isSlow ? "warning" : "good");

  if (status.own === null) tile("This agent", "Observer", "writes nothing", "plain");
  else tile("This agent", status.own, status.registered ? "registered" : "not registered", status.registered ? "good" : "bad");

  say($("place"), `s3://${status.bucket}/${status.prefix}`);
}

function showTitle() {
  const isBad = known.status.troubles.some((trouble) => trouble.severity === "bad");
  const title = known.isLost ? "connection lost" : known.isListed ? counted(known.members.length, "member", "members") : "not known yet";
  document.title = `${isBad && !known.isLost ? "✕ " : ""}${title} · s3discovery`;
}
