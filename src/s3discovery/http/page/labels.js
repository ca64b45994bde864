// Names cut to the room there is, so that no two look the same.

const SHARED_LEAST = 4; // characters; to leave fewer out gains nothing
const HALVES = /\p{Cs}/gu; // of a character that was cut through

// The longest beginning that more than half of the texts share: in order, so many stand in a row.
function sharedStart(texts) {
  const sorted = [...texts].sort();
  const half = Math.floor(sorted.length / 2);
  let longest = "";
  for (let one = 0; one + half < sorted.length && sorted.length > 1; one++) {
    const shared = commonStart(sorted[one], sorted[one + half]);
    if (shared.length > longest.length) longest = shared;
  }
  return longest.length < SHARED_LEAST ? "" : longest;
}

function commonStart(one, other) {
  let size = 0;
  while (size < one.length && one[size] === other[size]) size++;
  return one.slice(0, size);
}

const reversed = (text) => [...text].reverse().join("");

// Leaves out what most names share, their domain first, then their beginning; then the middle.
function shortened(name, limit, start, domain) {
  let text = name;
  if (text.length > limit && domain && text.endsWith(domain)) text = `${text.slice(0, -domain.length)}…`;
  if (text.length > limit && start && text.startsWith(start) && text.length > start.length + 1) text = `…${text.slice(start.length)}`;
  if (text.length <= limit) return text;
  const kept = limit - 1;
  return `${text.slice(0, Math.ceil(kept / 2))}…${text.slice(-Math.floor(kept / 2))}`;
}

// Returns a label of at most `limit` characters, 8 or more, for each name; no two are the same.
function labelsFor(names, limit) {
  const spelt = new Map(names.map((name) => [name, harmless(name)]));
  const start = sharedStart([...spelt.values()]);
  const end = reversed(sharedStart([...spelt.values()].map(reversed)));
  const domain = end.includes(".") ? end.slice(end.indexOf(".")) : "";
  const byLabel = new Map();
  for (const [name, text] of spelt) {
    const label = shortened(text, limit, start, domain);
    byLabel.set(label, [...(byLabel.get(label) ?? []), name]);
  }
  const labels = new Map();
  for (const [label, alike] of byLabel) {
    const shared = alike.map((name) => spelt.get(name)).reduce(commonStart).length;
    for (const name of alike) {
      // Those alike go on from where they differ.
      const told = alike.length === 1 ? label : clipped(`${label.slice(0, 3)}…${spelt.get(name).slice(shared)}`, limit - 1);
      labels.set(name, told.replace(HALVES, ""));
    }
  }
  return numbered(labels, limit);
}

// The last resort: what is still the same gets a number, in the order of the names.
function numbered(labels, limit) {
  const taken = new Set();
  for (const [name, label] of [...labels].sort(([one], [other]) => (one < other ? -1 : 1))) {
    let unlike = label;
    for (let number = 2; taken.has(unlike); number++) unlike = `${label.slice(0, limit - 1 - String(number).length)}·${number}`;
    taken.add(unlike);
    labels.set(name, unlike);
  }
  return labels;
}

// Returns what gives the label of a name; all are made at once, when the first is asked for.
function shortener(names) {
  const made = new Map();
  return (name, limit) => {
    if (!made.has(limit)) made.set(limit, labelsFor(names, limit));
    return made.get(limit).get(name);
  };
}
