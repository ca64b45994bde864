// The members as a table: found by text, chosen by state, sorted by any column.

const COLUMNS = [
  { name: "Node", key: (member) => member, compare: byName },
  { name: "Address", key: (member) => place(member.host, member.port), narrow: false },
  { name: "Broker", key: standingOf, narrow: false },
  { name: "File age", key: (member) => member.age_s ?? -1 },
  { name: "Expires in", key: (member) => member.expires_in_s ?? Infinity },
  { name: "Does not see", key: (member) => -missedBy(member).length, narrow: false },
  { name: "Format", key: (member) => member.file_version, narrow: false },
];
const CHOICES = [
  ["all", "all", () => true],
  ["late", "late", (member) => member.late],
  ["waiting", "waiting", (member) => known.waiting.has(member.cluster_id)],
  ["missing", "not seeing others", (member) => missedBy(member).length > 0],
  ["apart", "apart from the largest part", (member) => (known.groupOf.get(member.cluster_id) ?? 0) > 0],
];
const list = { column: 0, isUp: true, rows: new Map(), heads: [] };

function startList() {
  $("which").append(...CHOICES.map(([value, words]) => make("option", { value }, words)));
  const heads = COLUMNS.map((column, number) => {
    const button = make("button", { type: "button" }, column.name);
    button.addEventListener("click", () => {
      list.isUp = list.column === number ? !list.isUp : true;
      list.column = number;
      showList();
    });
    return make("th", { scope: "col", class: column.narrow === false ? "wide" : null }, button);
  });
  list.heads = heads;
  list.body = make("tbody");
  $("list").append(make("caption", { class: "unseen" }, "Members, one a row; the headings sort"), make("thead", null, make("tr", null, heads)), list.body);
  $("find").addEventListener("input", showList);
  $("which").addEventListener("change", showList);
  list.body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && String(getSelection()) === "") choose(row.dataset.id);
  });
}

function makeRow(id) {
  const cells = {
    name: make("th", { scope: "row" }), address: make("td", { class: "wide" }), broker: make("td", { class: "wide" }),
    age: make("td", { class: "number" }), left: make("td", { class: "number" }), misses: make("td", { class: "wide" }), format: make("td", { class: "wide" }),
  };
  const parts = { cells, under: make("span", { class: "under faint" }), bar: draw("rect", { height: 4, rx: 2 }), left: make("span") };
  parts.badge = make("span", { class: "badge", hidden: true }, "this node");
  cells.name.append(isolated(id), parts.badge, parts.under);
  cells.left.append(draw("svg", { width: 44, height: 4, "aria-hidden": true, class: "bar" }, draw("rect", { width: 44, height: 4, rx: 2, class: "track" }), parts.bar), parts.left);
  parts.row = make("tr", null, Object.values(cells));
  parts.row.dataset.id = id;
  return parts;
}

function chosenRows() {
  const wanted = $("find").value.trim().toLowerCase();
  const fits = CHOICES.find(([value]) => value === $("which").value)[2];
  const column = COLUMNS[list.column];
  const compare = column.compare || ((one, other) => {
    const [first, second] = [column.key(one), column.key(other)];
    const order = typeof first === "string" ? natural(first, second) : Math.sign(first - second);
    return order || byName(one, other);
  });
  const found = known.members.filter((member) => fits(member) &&
    (!wanted || member.cluster_id.toLowerCase().includes(wanted) || place(member.host, member.port).toLowerCase().includes(wanted)));
  return found.sort((one, other) => (list.isUp ? compare(one, other) : compare(other, one)));
}

function showList() {
  if (!known.status) return;
  list.heads.forEach((head, number) => mark(head, "aria-sort", number === list.column ? (list.isUp ? "ascending" : "descending") : "none"));
  const found = chosenRows();
  for (const id of list.rows.keys()) if (!known.byId.has(id)) list.rows.delete(id);
  const rows = found.map((member) => {
    if (!list.rows.has(member.cluster_id)) list.rows.set(member.cluster_id, makeRow(member.cluster_id));
    const { row, cells, badge, under } = list.rows.get(member.cluster_id);
    const address = place(member.host, member.port);
    const missed = missedBy(member);
    badge.hidden = !member.own;
    say(cells.address, address);
    say(cells.broker, standingOf(member) + (member.kind ? ` (${member.kind})` : ""));
    say(cells.misses, missed.length > 5 ? counted(missed.length, "node", "nodes") : missed.join(", "));
    say(cells.format, member.file_version);
    say(under, `${address}${known.isTold ? `, ${standingOf(member)}` : ""}${missed.length ? `, does not see ${missed.join(", ")}` : ""}`);
    mark(row, "class", member.cluster_id === known.chosen ? "chosen" : "");
    return row;
  });
  // Only what changed its place is moved: 500 rows stay quick, and a selection of text stays.
  if (rows.length !== list.body.children.length || rows.some((row, index) => list.body.children[index] !== row)) list.body.replaceChildren(...rows);
  say($("count"), known.isListed ? `${found.length} of ${known.members.length}` : "not known yet");
  tickList();
}

function tickList() {
  for (const row of list.body.children) {
    const member = known.byId.get(row.dataset.id);
    const parts = list.rows.get(row.dataset.id);
    if (!member || !parts) continue;
    const { kind, part } = lifeOf(member);
    const remaining = remainingOf(member);
    say(parts.cells.age, length(ageOf(member)));
    say(parts.left, remaining === null ? (member.age_s === null ? "unknown" : "never") : remaining > 0 ? length(remaining) : "kept");
    mark(parts.bar, "width", (part * 44).toFixed(1));
    mark(row, "data-life", kind);
  }
}
