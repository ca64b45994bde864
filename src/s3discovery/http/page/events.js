// The stream of events, newest first, and what a screen reader is told of it: seldom, and summed up.

const EVENTS_SHOWN = 200;
const ANNOUNCE_MS = 4000;

function sentence(kind, data) {
  const id = () => make("strong", null, isolated(data.cluster_id));
  const own = (text) => isolated(text);
  switch (kind) {
    case "joined": return ["good", id(), " joined at ", own(place(data.host, data.port))];
    case "left": return data.expires_in_s !== null && data.expires_in_s <= 0
      ? ["bad", id(), ` expired: its file was ${length(data.age_s)} old`] : ["plain", id(), " left"];
    case "moved": return ["plain", id(), " changed, is at ", own(place(data.host, data.port))];
    case "store": return data.answers ? ["good", "The store can be listed again"] : ["bad", "The store cannot be listed: ", own(data.error)];
    case "cluster": return clusterSentence(data);
    case "skipped": return ["warning", "File ", own(data.key), " cannot be used: ", own(data.reason)];
    case "readable": return ["good", "File ", own(data.key), " is in order or gone"];
    case "rival": return ["bad", "Another process uses our cluster id, at ", own(data.address)];
    case "registered": return data.registered ? ["good", "This node is registered"] : ["bad", "This node is not registered any more"];
    case "trouble": return [data.severity === "note" ? "plain" : data.severity, own(data.title)];
    case "cured": return ["good", "Over: ", own(data.title)];
    default: return ["plain", own(kind)];
  }
}

// What all nodes report, and what the broker of this node says where that is something else: it knows of itself sooner.
function clusterSentence({ state, broker }) {
  const texts = broker && broker !== state ? [state, broker] : [state];
  const tones = texts.map((text) => (/^(formed|told)/.test(text) ? "good" : text.startsWith("split") ? "bad" : "warning"));
  const tone = ["bad", "warning", "good"].find((each) => tones.includes(each));
  return [tone, "Cluster: ", isolated(clipped(state, 300)), ...(texts.length > 1 ? ["; the broker of this node: ", isolated(clipped(broker, 300))] : [])];
}

function eventRow({ event, data }) {
  const [tone, ...words] = sentence(event, data);
  const time = make("time", { datetime: new Date(data.at * 1000).toISOString() }, clockTime(data.at));
  return make("li", { "data-tone": tone }, time, make("span", null, words));
}

function showEvents(events) {
  const rows = events.map(eventRow).reverse();
  $("events").prepend(...rows);
  while ($("events").children.length > EVENTS_SHOWN) $("events").lastChild.remove();
}

const unsaid = { joined: 0, left: 0, texts: [] };
let announcing = null;

function announce(event) {
  const { data } = event;
  if (event.event === "joined" || event.event === "left") unsaid[event.event]++;
  else if (["store", "cluster", "rival"].includes(event.event)) {
    unsaid.texts.push(sentence(event.event, data).slice(1).map((part) => (part instanceof Node ? part.textContent : part)).join("").slice(0, 200));
  } else return;
  announcing ??= setTimeout(() => {
    announcing = null;
    const words = [];
    if (unsaid.joined) words.push(`${unsaid.joined} joined`);
    if (unsaid.left) words.push(`${unsaid.left} left`);
    words.push(...unsaid.texts.slice(-3));
    Object.assign(unsaid, { joined: 0, left: 0, texts: [] });
    say($("announcer"), words.join(". "));
  }, ANNOUNCE_MS);
}
