// An independent reader of the SSE wire, by the HTML standard (section 9.2.6), that also keeps what
// a browser drops: comments, and `retry:` values.

const GAP = 'sidestream-gap';

export class SseParser {
  #decoder = new TextDecoder('utf-8');
  #rest = '';
  #lastWasCr = false;
  #data = null;
  #type = '';
  #id = '';
  #sink;

  /** `sink` gets `block(id)`, `event({id, type, data})`, `comment(text)` and `retry(text)`. */
  constructor(sink) {
    this.#sink = sink;
  }

  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === '') return;
    // A line feed right after a carriage return that ended the last chunk belongs to that line end.
    if (this.#lastWasCr && text.startsWith('\n')) text = text.slice(1);
    this.#lastWasCr = text.endsWith('\r');
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return this.#sink.comment?.(line.slice(1));
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
    else if (field === 'event') this.#type = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    else if (field === 'retry') this.#sink.retry?.(value);
  }

  #dispatch() {
    const [type, data] = [this.#type || 'message', this.#data];
    this.#type = '';
    this.#data = null;
    // An id counts from the blank line on, also when there is no data.
    this.#sink.block?.(this.#id);
    if (data !== null) this.#sink.event({ id: this.#id, type, data });
  }
}

/** What one subscriber saw, in order; every client fills one of these. */
export class Reading {
  /** `{id, type, data}` of the app's events. */
  events = [];
  /** `{form, at, id, reason, from, to, missed}`; `at` counts the events seen before it. */
  gaps = [];
  comments = [];
  retries = [];
  /** How often a stream was opened. */
  opens = 0;
  /** Status and headers of the last answer, where the client shows them. */
  status = 0;
  headers = {};
  /** `complete`, `cut`, or null while it is open. */
  ended = null;
  /** When it ended, by performance.now(). */
  endedAt = 0;
  /** What a new connection would send as its last event id. */
  lastEventId = '';

  open(status = 200, headers = {}) {
    this.opens += 1;
    this.status = status;
    this.headers = headers;
    this.ended = null;
  }

  block(id) {
    this.lastEventId = id;
  }

  event({ id, type, data }) {
    this.lastEventId = id;
    if (type === GAP) this.#gap('event', data, id);
    else this.events.push({ id, type, data });
  }

  comment(text) {
    const trimmed = text.trimStart();
    if (trimmed.startsWith(GAP)) this.#gap('comment', trimmed.slice(GAP.length));
    else this.comments.push(text);
  }

  retry(text) {
    this.retries.push(text);
  }

  end(how) {
    if (this.ended) return;
    this.ended = how;
    this.endedAt = performance.now();
  }

  #gap(form, json, id) {
    this.gaps.push({ form, at: this.events.length, id, ...JSON.parse(json) });
  }
}
