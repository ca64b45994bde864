// What is known, and when it was asked: ages go on between two answers.

const known = { status: null, members: [], at: 0, isLost: false, chosen: null, pointed: null };

const sinceAnswer = () => (performance.now() - known.at) / 1000;
// Nothing goes on while the agent cannot be asked, since nobody knows what happens then: all is as in the last answer.
const passed = () => (known.isLost ? 0 : sinceAnswer());
const ageOf = (member) => (member.age_s === null ? null : member.age_s + passed());
const remainingOf = (member) => (member.expires_in_s === null ? null : member.expires_in_s - passed());
const listedAgo = () => {
  const ago = known.status.store.listed_s_ago;
  return ago === null ? null : ago + passed();
};

// How the ring is drawn: "frozen" while the store fails, since a file may be newer than is known.
function lifeOf(member) {
  const whole = known.status.file_expiration_s;
  const remaining = remainingOf(member);
  if (remaining === null) return { kind: member.age_s === null ? "unknown" : "endless", part: 1 };
  const part = Math.min(1, Math.max(0, remaining / whole));
  if (!known.status.store.answers) return { kind: "frozen", part };
  if (member.late && part < 0.15) return { kind: "ending", part };
  return { kind: member.late ? "late" : "fresh", part };
}

const LIVES = {
  fresh: "refreshed in time", late: "late: a refresh is missing", ending: "late: about to expire",
  frozen: "kept while the store fails", endless: "never expires", unknown: "age unknown",
};

// node-2 before node-10, and 10.0.0.2 before 10.0.0.10.
const { compare: natural } = new Intl.Collator("en", { numeric: true });
const byName = (one, other) => natural(one.cluster_id, other.cluster_id) || (one.cluster_id < other.cluster_id ? -1 : 1);

function take(status, members) {
  known.status = status;
  known.members = [...members.members].sort(byName);
  known.byId = new Map(known.members.map((member) => [member.cluster_id, member]));
  known.groupOf = new Map();
  status.cluster.groups.forEach((group, number) => group.forEach((id) => known.groupOf.set(id, number)));
  known.waiting = new Set(status.cluster.waiting);
  known.short = shortener(known.members.map((member) => member.cluster_id));
  known.missed = new Map(known.members.map(({ cluster_id, misses }) => [cluster_id, misses.filter((id) => known.byId.has(id) && id !== cluster_id)]));
  known.isListed = status.store.listed_s_ago !== null;
  known.isTold = status.cluster.whole !== null;
  known.at = performance.now();
}

// Who misses whom, of those that are there.
const missedBy = (member) => known.missed.get(member.cluster_id);

// Of these, those that should see each other: parts of a split cluster never do.
const hasGap = (member) => missedBy(member).some((id) => known.groupOf.get(id) === known.groupOf.get(member.cluster_id));

function standingOf(member) {
  const { groups } = known.status.cluster;
  const group = known.groupOf.get(member.cluster_id);
  if (known.waiting.has(member.cluster_id)) return "waits to join";
  if (group === undefined) return "there; tells nothing of its broker";
  if (groups.length > 1) return `in part ${group + 1} of ${groups.length}`;
  return known.isTold ? "in the cluster" : "there; tells nothing of its broker";
}

const hasTrouble = (kind) => known.status.troubles.some((trouble) => trouble.kind === kind);

// How the cluster is, in short: a figure, what it means, and how bad that is. While the store fails, how it was.
function verdict() {
  const [figure, meaning, tone] = verdictOfListing();
  if (known.status.store.answers || !known.isListed) return [figure, meaning, tone];
  return [figure, `as of ${length(listedAgo())} ago`, tone === "good" ? "plain" : tone];
}

// It is the agent that judges.
function verdictOfListing() {
  const { cluster } = known.status;
  const inside = cluster.groups.reduce((sum, group) => sum + group.length, 0);
  if (!known.isListed) return ["Not known yet", "the store has not been listed", "plain"];
  if (!known.members.length) return ["Empty", "nobody is there", "warning"];
  if (cluster.split) return [`Split in ${cluster.groups.length}`, `${cluster.groups.map((group) => group.length).join(" + ")} nodes`, "bad"];
  if (cluster.waiting.length) return [`${inside} of ${inside + cluster.waiting.length} in`, `${cluster.waiting.length} waiting`, "warning"];
  if (cluster.gaps_count) return ["With gaps", counted(cluster.gaps_count, "pair", "pairs"), "warning"];
  if (hasTrouble("broker")) return ["Not joined", clipped(cluster.broker || "the broker of this node is not there yet", 80), "warning"];
  if (hasTrouble("missing")) return ["Incomplete", clipped(cluster.broker, 80), "warning"];
  if (!known.isTold) return ["Not told", "no broker reports", "plain"];
  return ["Whole", cluster.strangers.length ? `${inside} see each other` : "all see each other", "good"];
}
