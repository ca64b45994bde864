// The connection to the agent: a stream of events that goes on where it broke off, and what is asked beside it.
// fetch instead of EventSource, which cannot send a token.

const TOKEN_KEY = "s3discovery-token";
const SILENCE_LIMIT_MS = 25000; // the agent says something every 10 s
const ANSWER_LIMIT_MS = 10000; // longer than 500 members take on a busy machine
const RETRY_MS = [300, 700, 1500, 3000, 5000];

class Refused extends Error {}

const stored = {
  get: (storage, key) => { try { return storage.getItem(key); } catch { return null; } },
  set: (storage, key, value) => { try { storage.setItem(key, value); } catch { /* private windows refuse */ } },
};

// All that is asked ends together: whatever fails closes the stream as well, which is then opened anew.
class Agent {
  constructor({ onEvent, onOpen, onLost, onRefused }) {
    Object.assign(this, { onEvent, onOpen, onLost, onRefused });
    this.token = stored.get(sessionStorage, TOKEN_KEY);
    this.last = null;
    this.failures = 0;
    this.isOpen = false;
    this.isLocked = false;
    this.stop = new AbortController();
    this.retry = null;
  }

  enter(token) {
    this.token = token;
    stored.set(sessionStorage, TOKEN_KEY, token);
    this.isLocked = false;
    this.open();
  }

  open() {
    this.close();
    if (this.isLocked) return;
    const { signal } = this.stop;
    this.listen(signal).then(() => new Error("the stream has ended"), (error) => error)
      .then((error) => { if (!signal.aborted) this.fail(error); });
  }

  close() {
    clearTimeout(this.retry);
    this.isOpen = false;
    this.stop.abort();
    this.stop = new AbortController();
  }

  fail(error) {
    this.close();
    if (error instanceof Refused) {
      this.isLocked = true;
      this.onRefused(Boolean(this.token));
      return;
    }
    const delay = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)];
    if (!document.hidden) this.retry = setTimeout(() => this.open(), delay);
    this.onLost();
  }

  async ask(path, signal, more = {}) {
    // No header takes others, such as a quote that an editor made: the agent would not even be asked.
    if (this.token && !/^[!-~]+$/.test(this.token)) throw new Refused();
    const headers = this.token ? { ...more, Authorization: `Bearer ${this.token}` } : more;
    const answer = await fetch(path, { headers, signal, cache: "no-store", redirect: "error" });
    if (answer.status === 401) throw new Refused();
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return answer;
  }

  // Returns the documents at `paths`; null if one is not to be had, which is told by then.
  async documents(...paths) {
    const { signal } = this.stop;
    const alarm = setTimeout(() => this.fail(new Error("no answer")), ANSWER_LIMIT_MS);
    try {
      const documents = await Promise.all(paths.map(async (path) => (await this.ask(path, signal)).json()));
      this.failures = 0;
      return documents;
    } catch (error) {
      if (!signal.aborted) this.fail(error);
      return null;
    } finally {
      clearTimeout(alarm);
    }
  }

  async listen(signal) {
    let alarm = null;
    const heard = () => {
      clearTimeout(alarm);
      alarm = setTimeout(() => this.fail(new Error("silence")), SILENCE_LIMIT_MS);
    };
    signal.addEventListener("abort", () => clearTimeout(alarm));
    heard();
    const answer = await this.ask("/v1/events", signal, this.last === null ? {} : { "Last-Event-ID": this.last });
    this.isOpen = true;
    this.onOpen();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      heard();
      const frames = (rest + value).split("\n\n");
      rest = frames.pop();
      frames.forEach((frame) => this.take(frame));
    }
  }

  take(frame) {
    const fields = {};
    for (const line of frame.split("\n")) {
      const at = line.indexOf(": ");
      if (at > 0) fields[line.slice(0, at)] = line.slice(at + 2);
    }
    if (!fields.event) return;
    this.last = fields.id;
    this.onEvent({ id: fields.id, event: fields.event, data: JSON.parse(fields.data) });
  }
}
