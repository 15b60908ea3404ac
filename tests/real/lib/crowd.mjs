// Many subscribers at once, half of them on HTTP/1.1 and half on HTTP/2, half of each looking like a
// browser's EventSource.

import { EVENT_SOURCE_HEADERS, http2Session, nodeHttp1, openOnSession } from './clients.mjs';

const STREAMS_PER_SESSION = 100;
/** Connections opened at the same time: below any listen backlog. */
const OPENING_MAX = 100;

/** Runs `task(n)` for n in 0..count, at most `OPENING_MAX` at a time. */
async function inBatches(count, task) {
  const results = [];
  while (results.length < count) {
    const size = Math.min(OPENING_MAX, count - results.length);
    const batch = Array.from({ length: size }, (_, n) => task(results.length + n));
    results.push(...(await Promise.all(batch)));
  }
  return results;
}

const headersOf = (n) => (n % 2 ? EVENT_SOURCE_HEADERS : { accept: '*/*' });

export class Crowd {
  #closers = [];
  readings = [];
  /** HTTP/2 sessions; `goneAway` tells whether a GOAWAY came. */
  sessions = [];
  /** Those that look like a browser's EventSource, and the others. */
  eventSources = [];
  others = [];

  /**
   * Opens `http1` connections and `http2` streams to one origin at once (scheme and host are part of
   * a channel's key); resolves when all are open.
   */
  static async open(sidestream, path, { http1 = 0, http2 = 0, listener = 'plain' }) {
    const crowd = new Crowd();
    const { ca } = sidestream;
    await Promise.all([
      crowd.#openHttp1(sidestream[listener] + path, http1, ca),
      crowd.#openHttp2(sidestream[listener], path, http2, ca),
    ]);
    return crowd;
  }

  async #openHttp1(url, count, ca) {
    const open = (n) => nodeHttp1.open(url, { headers: headersOf(n), ca });
    const connections = await inBatches(count, open);
    connections.forEach((connection, n) => this.#add(n, connection));
  }

  async #openHttp2(origin, path, count, ca) {
    this.sessions = await inBatches(Math.ceil(count / STREAMS_PER_SESSION), () =>
      http2Session(origin, { ca }),
    );
    const streams = await inBatches(count, (n) =>
      openOnSession(this.sessions[n % this.sessions.length], path, { headers: headersOf(n) }),
    );
    streams.forEach(({ reading }, n) => this.#add(n, { reading, close: () => {} }));
  }

  #add(n, { reading, close }) {
    this.readings.push(reading);
    (n % 2 ? this.eventSources : this.others).push(reading);
    this.#closers.push(close);
  }

  close() {
    this.#closers.forEach((close) => close());
    this.sessions.forEach((session) => session.destroy());
  }
}
