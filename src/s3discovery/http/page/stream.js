// The connection to the agent: a stream of events that goes on where it broke off, and what is asked beside it.
// fetch instead of EventSource, which cannot send a token.

const TOKEN_KEY = "s3discovery-token";
const SILENCE_LIMIT_MS = 25000; // the agent says something every 10 s
const RETRY_MS = [300, 700, 1500, 3000, 5000];

class Refused extends Error {}

const stored = {
  get: (storage, key) => { try { return storage.getItem(key); } catch { return null; } },
  set: (storage, key, value) => { try { storage.setItem(key, value); } catch { /* private windows refuse */ } },
};

class Agent {
  constructor({ onEvent, onOpen, onLost, onRefused }) {
    Object.assign(this, { onEvent, onOpen, onLost, onRefused });
    this.token = stored.get(sessionStorage, TOKEN_KEY);
    this.last = null;
    this.failures = 0;
    this.isAsking = false;
  }

  enter(token) {
    this.token = token;
    stored.set(sessionStorage, TOKEN_KEY, token);
    this.run();
  }

  async ask(path, options = {}) {
    const headers = { ...options.headers };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    const answer = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
    if (answer.status === 401) throw new Refused();
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return answer;
  }

  async document(path) {
    return (await this.ask(path)).json();
  }

  async run() {
    if (this.isAsking) return;
    this.isAsking = true;
    while (this.isAsking) {
      try {
        await this.listen();
      } catch (error) {
        if (error instanceof Refused) {
          this.isAsking = false;
          this.onRefused(Boolean(this.token));
          return;
        }
      }
      const delay = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)];
      this.onLost();
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }

  async listen() {
    const stop = new AbortController();
    let alarm = null;
    const heard = () => {
      clearTimeout(alarm);
      alarm = setTimeout(() => stop.abort(), SILENCE_LIMIT_MS);
    };
    heard();
    try {
      const headers = this.last === null ? {} : { "Last-Event-ID": this.last };
      const answer = await this.ask("/v1/events", { headers, signal: stop.signal });
      this.failures = 0;
      this.onOpen();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        heard();
        const frames = (rest + value).split("\n\n");
        rest = frames.pop();
        frames.forEach((frame) => this.take(frame));
      }
    } finally {
      clearTimeout(alarm);
      stop.abort();
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
