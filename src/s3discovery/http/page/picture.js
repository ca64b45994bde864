// The members as a picture. A ring empties as a file nears its expiry; parts of a split cluster stand apart;
// who waits stands aside. The more nodes, the denser: first names go, then ages, then the space between.

const DENSITIES = [
  { width: 92, height: 88, radius: 21, named: 13, aged: true },
  { width: 80, height: 68, radius: 16, named: 9, aged: false },
  { width: 42, height: 42, radius: 14, named: 0, aged: false },
  { width: 28, height: 28, radius: 9.5, named: 0, aged: false },
  { width: 25, height: 25, radius: 8, named: 0, aged: false },
];
const HEIGHT_LIMIT = 560;
const MESH_LIMIT = 12; // nodes in a circle, with a line for each pair; beyond that lines are a carpet
const GAPS_DRAWN = 60;

const picture = { nodes: new Map(), order: [], key: "", current: null, details: null };

function sectionsOf() {
  const { groups, waiting, strangers } = known.status.cluster;
  const sections = groups.map((ids, number) => ({
    ids, kind: groups.length > 1 ? "part" : "whole",
    title: groups.length > 1 ? `Part ${number + 1} of ${groups.length}` : (known.isTold ? "One cluster" : "In the bucket"),
  }));
  if (waiting.length) sections.push({ ids: waiting, kind: "waiting", title: "Waiting to join" });
  if (strangers.length) sections.push({ ids: strangers, kind: "stranger", title: "Telling nothing of their brokers" });
  return sections.map((section) => ({
    ...section, members: section.ids.map((id) => known.byId.get(id)).filter(Boolean).sort(byName),
  })).filter((section) => section.members.length);
}

function densityFor(count, width) {
  const fits = ({ width: cell, height }) => Math.ceil(count / Math.max(1, Math.floor(width / cell))) * height <= HEIGHT_LIMIT;
  return DENSITIES.find(fits) || DENSITIES[DENSITIES.length - 1];
}

function layOut(members, width, density, isMesh) {
  const count = members.length;
  if (isMesh && count <= MESH_LIMIT && density.aged) {
    const reach = count === 1 ? 0 : Math.max(count === 2 ? 64 : 78, 56 / Math.sin(Math.PI / count));
    const turn = count === 2 ? Math.PI : -Math.PI / 2;
    const places = members.map((_, index) => {
      const angle = turn + (2 * Math.PI * index) / count;
      return [reach + 58 + reach * Math.cos(angle), 38 + (count < 3 ? 0 : reach + reach * Math.sin(angle))];
    });
    const size = { width: 2 * reach + 116, height: Math.max(...places.map(([, y]) => y)) + 66 };
    if (size.width <= width) return { ...size, places, isMesh: true, radius: 24 };
  }
  const fit = Math.max(1, Math.floor(width / density.width));
  const columns = Math.min(fit, count, known.status.cluster.groups.length > 1 ? Math.ceil(Math.sqrt(count * 1.7)) : fit);
  const rows = Math.ceil(count / columns);
  const even = Math.ceil(count / rows);
  const top = density.named ? density.radius + 6 : density.height / 2;
  const places = members.map((_, index) => [
    (index % even + 0.5) * density.width, Math.floor(index / even) * density.height + top,
  ]);
  return { width: even * density.width, height: rows * density.height, places, isMesh: false, radius: density.radius };
}

function drawNode(member, [x, y], layout, density) {
  const { radius } = layout;
  const round = 2 * Math.PI * radius;
  const thickness = Math.max(2.5, radius / 4.5);
  const core = radius * 0.52;
  const parts = { round };
  parts.life = draw("circle", { class: "life", r: radius, "stroke-width": thickness, transform: "rotate(-90)" });
  parts.core = member.own
    ? draw("rect", { class: "core", x: -core * 0.9, y: -core * 0.9, width: core * 1.8, height: core * 1.8, rx: 1.5, transform: "rotate(45)" })
    : draw("circle", { class: "core", r: core });
  parts.sign = draw("text", { class: "sign", y: core * 0.62, "font-size": core * 1.7 });
  const children = [
    draw("circle", { class: "halo", r: radius + thickness / 2 + 3 }),
    draw("circle", { class: "track", r: radius, "stroke-width": thickness }),
    parts.life, parts.core, parts.sign,
  ];
  const named = layout.isMesh ? 14 : density.named;
  if (named) children.push(draw("text", { class: layout.isMesh || density.aged ? "name" : "name small", y: radius + (layout.isMesh || density.aged ? 18 : 16) }, known.short(member.cluster_id, named)));
  if (layout.isMesh || density.aged) {
    parts.age = draw("text", { class: "age", y: radius + 32 });
    children.push(parts.age);
  }
  parts.group = draw("g", { class: "node", role: "button", tabindex: -1, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }, ...children);
  parts.group.dataset.id = member.cluster_id;
  picture.nodes.set(member.cluster_id, parts);
  picture.order.push(member.cluster_id);
  return parts.group;
}

function drawLinks(section, layout) {
  const links = [];
  const index = new Map(section.members.map((member, number) => [member.cluster_id, number]));
  const gaps = new Set();
  section.members.forEach((member, one) => missedBy(member).forEach((id) => {
    const other = index.get(id);
    if (other !== undefined) gaps.add(`${Math.min(one, other)} ${Math.max(one, other)}`);
  }));
  const line = (one, other, kind) => draw("line", {
    class: kind, x1: layout.places[one][0], y1: layout.places[one][1], x2: layout.places[other][0], y2: layout.places[other][1],
  });
  if (layout.isMesh && known.isTold && ["whole", "part"].includes(section.kind)) {
    for (let one = 0; one < section.members.length; one++) {
      for (let other = 0; other < one; other++) if (!gaps.has(`${other} ${one}`)) links.push(line(one, other, "link"));
    }
  }
  for (const gap of [...gaps].slice(0, GAPS_DRAWN)) {
    const [one, other] = gap.split(" ").map(Number);
    const [x, y] = [0, 1].map((axis) => (layout.places[one][axis] + layout.places[other][axis]) / 2);
    links.push(line(one, other, "gap"), draw("path", { class: "cut", d: `M${x - 5} ${y - 5}l10 10m0 -10l-10 10` }));
  }
  return links;
}

function drawSection(section, width, density) {
  // A part has a border, and a space between it and the next.
  const layout = layOut(section.members, width - (section.kind === "whole" ? 0 : 34), density, true);
  const size = { width: Math.ceil(layout.width), height: Math.ceil(layout.height) };
  const svg = draw("svg", { ...size, viewBox: `0 0 ${size.width} ${size.height}`, role: "group", "aria-label": `${section.title}: ${counted(section.members.length, "node", "nodes")}` },
    draw("g", { "aria-hidden": true }, drawLinks(section, layout)),
    section.members.map((member, index) => drawNode(member, layout.places[index], layout, density)));
  return make("div", { class: `group ${section.kind}` },
    make("h3", null, section.title, make("span", { class: "faint" }, ` · ${counted(section.members.length, "node", "nodes")}`)), svg);
}

// Draws anew only what is not the same in shape; ages and colours are `paintAges`'.
function showPicture() {
  const width = $("picture").clientWidth;
  const sections = sectionsOf();
  const shape = sections.map((section) => [section.kind, section.members.map((member) => [member.cluster_id, member.own, missedBy(member)])]);
  const key = JSON.stringify([width, known.isTold, known.isListed, shape]);
  if (key !== picture.key && width > 0) {
    const hadFocus = $("picture").contains(document.activeElement);
    picture.key = key;
    picture.nodes.clear();
    picture.order = [];
    const density = densityFor(known.members.length, width);
    $("picture").replaceChildren(...sections.map((section) => drawSection(section, width, density)));
    if (!sections.length) $("picture").append(make("p", { class: "empty" }, known.isListed ? "Nobody is there." : "Who is there is not known yet."));
    if (!picture.nodes.has(picture.current)) picture.current = picture.order[0] ?? null;
    // The reader may have scrolled elsewhere since.
    if (hadFocus && picture.current !== null) focusNode(picture.current, { preventScroll: true });
  }
  say($("summary"), summary(sections));
  paintNodes();
  paintAges();
}

function summary(sections) {
  const { cluster } = known.status;
  const late = known.members.filter((member) => member.late).length;
  if (!known.isListed) return "The members are not known yet: the store has not been listed.";
  const parts = [counted(known.members.length, "member", "members") + (known.status.store.answers ? "" : " when the store was last listed")];
  if (cluster.split) parts.push(`split into ${cluster.groups.length} parts that do not see each other`);
  else if (!known.isTold) parts.push("none tells of its broker");
  else if (verdictOfListing()[2] === "good") parts.push(cluster.strangers.length ? "those in the cluster see one another" : "each sees every other");
  if (cluster.gaps_count) parts.push(`${counted(cluster.gaps_count, "pair", "pairs")} with a gap`);
  const waiting = sections.find((section) => section.kind === "waiting");
  if (waiting) parts.push(`${waiting.members.length} waiting to join`);
  if (cluster.strangers.length) parts.push(`${cluster.strangers.length} beside them telling nothing`);
  if (late) parts.push(`${late} late`);
  return parts.join(", ") + ".";
}

function paintNodes() {
  const missed = new Set(known.byId.has(known.chosen) ? missedBy(known.byId.get(known.chosen)) : []);
  for (const [id, parts] of picture.nodes) {
    const member = known.byId.get(id);
    mark(parts.group, "aria-pressed", id === known.chosen);
    mark(parts.group, "tabindex", id === picture.current ? 0 : -1);
    const states = ["node"];
    if (member.own) states.push("own");
    if (known.waiting.has(id)) states.push("waiting");
    if (missed.has(id)) states.push("missed");
    mark(parts.group, "class", states.join(" "));
    mark(parts.group, "data-life", lifeOf(member).kind);
    mark(parts.group, "aria-label", harmless(described(member)));
    say(parts.sign, member.late ? "!" : hasGap(member) ? "?" : "");
  }
}

function described(member) {
  const missed = missedBy(member);
  const words = [member.cluster_id + (member.own ? " (this node)" : ""), standingOf(member), LIVES[lifeOf(member).kind]];
  if (missed.length) words.push(`does not see ${missed.length > 3 ? counted(missed.length, "other", "others") : missed.join(", ")}`);
  return words.join(", ");
}

function paintAges() {
  for (const [id, parts] of picture.nodes) {
    const member = known.byId.get(id);
    const { part } = lifeOf(member);
    mark(parts.life, "stroke-dasharray", `${(part * parts.round).toFixed(1)} ${(parts.round + 1).toFixed(1)}`);
    if (parts.age) say(parts.age, member.age_s === null ? "" : `${length(ageOf(member))} old`);
  }
  showDetails();
}

function showDetails() {
  const id = known.pointed ?? known.chosen;
  const member = known.byId.get(id);
  const box = $("details");
  if (!member) {
    picture.details = null;
    box.replaceChildren(make("p", { class: "faint" }, known.members.length ? "Point at a node or choose it to see more of it." : ""));
    return;
  }
  if (picture.details?.id !== id) {
    picture.details = makeDetails(id);
    box.replaceChildren(picture.details.heading, picture.details.facts);
  }
  // Only what is new is touched, so that a selection of text stays.
  picture.details.badge.hidden = !member.own;
  const missed = missedBy(member);
  const remaining = remainingOf(member);
  const { values } = picture.details;
  say(values.Address, place(member.host, member.port));
  say(values.File, member.age_s === null ? "age unknown" : `written ${length(ageOf(member))} ago` + (remaining === null ? ", never expires" : remaining > 0 ? `, expires in ${length(remaining)}` : ", past its expiry, kept"));
  say(values.Broker, standingOf(member) + (member.kind ? ` (${member.kind})` : ""));
  say(values.Sees, missed.length ? `not ${missed.join(", ")}` : known.isTold && known.groupOf.has(id) ? "everybody in its cluster" : "not told");
}

function makeDetails(id) {
  const values = Object.fromEntries(["Address", "File", "Broker", "Sees"].map((name) => [name, make("bdi")]));
  const badge = make("span", { class: "badge", hidden: true }, "this node");
  const facts = Object.entries(values).map(([name, value]) => make("div", null, make("dt", null, name), make("dd", null, value)));
  return { id, values, badge, heading: make("h3", null, isolated(id), badge), facts: make("dl", null, facts) };
}

function focusNode(id, options) {
  picture.current = id;
  paintNodes();
  picture.nodes.get(id).group.focus(options);
}

function choose(id) {
  known.chosen = known.chosen === id ? null : id;
  paintNodes();
  showDetails();
  showList();
}

function nodeAt(target) {
  const group = target instanceof Element ? target.closest(".node") : null;
  return group ? group.dataset.id : null;
}

function startPicture() {
  const area = $("picture");
  const point = (id) => { if (known.pointed !== id) { known.pointed = id; showDetails(); } };
  area.addEventListener("click", (event) => {
    const id = nodeAt(event.target);
    if (id === null) return;
    picture.current = id;
    choose(id);
  });
  area.addEventListener("pointerover", (event) => { if (event.pointerType === "mouse") point(nodeAt(event.target)); });
  area.addEventListener("pointerleave", () => point(null));
  area.addEventListener("focusin", (event) => {
    const id = nodeAt(event.target);
    if (id !== null) { picture.current = id; point(id); }
  });
  area.addEventListener("focusout", () => point(null));
  area.addEventListener("keydown", (event) => {
    const id = nodeAt(event.target);
    if (id === null) return;
    const at = picture.order.indexOf(id);
    const last = picture.order.length - 1;
    const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last };
    if (event.key in steps) focusNode(picture.order[Math.min(last, Math.max(0, steps[event.key]))]);
    else if (event.key === "Enter" || event.key === " ") choose(id);
    else if (event.key === "Escape" && known.chosen !== null) choose(known.chosen);
    else return;
    event.preventDefault();
  });
  const sample = (kind, part) => draw("svg", { width: 18, height: 18, viewBox: "-9 -9 18 18", "aria-hidden": true },
    draw("g", { class: kind === "own" ? "node own" : kind === "waiting" ? "node waiting" : "node", "data-life": ["own", "waiting"].includes(kind) ? "fresh" : kind },
      draw("circle", { class: "track", r: 7, "stroke-width": 2.5 }),
      draw("circle", { class: "life", r: 7, "stroke-width": 2.5, transform: "rotate(-90)", "stroke-dasharray": `${part * 44} 45` }),
      kind === "own" ? draw("rect", { class: "core", x: -3, y: -3, width: 6, height: 6, transform: "rotate(45)" }) : draw("circle", { class: "core", r: 3.4 })));
  const entries = [
    ["fresh", 0.7, "alive: the ring empties until its file expires"], ["late", 0.4, "late: not refreshed when due"],
    ["ending", 0.12, "about to expire"], ["frozen", 0.6, "kept while the store fails"],
    ["waiting", 0.9, "waits to join"], ["own", 0.9, "this node"],
  ];
  $("legend").append(...entries.map(([kind, part, words]) => make("li", null, sample(kind, part), words)));
  new ResizeObserver(() => { if (known.status) showPicture(); }).observe(area);
}
