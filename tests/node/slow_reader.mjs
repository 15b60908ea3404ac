// A client that is slow for a while, under each policy and each form of gap notices: it loses events,
// is told so in the form that the route asks for, and lives on.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';

import { listen } from './listen.mjs';
import { SlowLink } from './slow_link.mjs';
import { Reading, SseParser } from './sse.mjs';
import { until } from './wait.mjs';

const POLICIES = ['disconnect', 'skip'];
const NOTICES = ['event', 'comment', 'close', 'auto'];

/** Every way in which a route may treat slow readers. */
export const CASES = POLICIES.flatMap((policy) => NOTICES.map((notice) => ({ policy, notice })));

/** Events before the link is held, while it is, and after it. Held are more than sockets can take. */
const [BEFORE, HELD, AFTER] = [5, 1_000, 5];
const COUNT = BEFORE + HELD + AFTER;
const PAD = 'x'.repeat(2_000);
/** So many are sent at once, and so far behind is too slow. */
const [AT_ONCE, BEHIND_MAX] = [10, 30];

/** The route of a case. */
export const pathOf = ({ policy, notice }) => `/${policy}/${notice}`;

/** Sections of the configuration: a route for each case, and pages beside them. */
export const SECTIONS = {
  limits: { tcp_send_buffer_bytes: '4KiB' },
  defaults: {
    retry: { min: '100ms', max: '200ms' },
    ring: { events_max: 2 * BEHIND_MAX },
  },
  routes: [
    ...CASES.map((one) => ({
      path: pathOf(one),
      action: 'fanout',
      share: 'public',
      gap_notice: one.notice,
      // Too far behind, and never too long without a byte taken: a held link is no dead one.
      slow: { policy: one.policy, events_max: BEHIND_MAX, stall_max: '10m' },
    })),
    { name: 'pages', path: '/{*rest}', action: 'proxy' },
  ],
};

/** An app with blank pages, and streams of events that are numbered from 0. */
export class NumberingApp {
  #streams = new Map();

  static async start() {
    const app = new NumberingApp();
    app.server = http.createServer((request, response) => app.#answer(request, response));
    app.url = await listen(app.server);
    return app;
  }

  #answer({ url }, response) {
    if (!CASES.some((one) => pathOf(one) === url)) {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>app</title>');
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    this.#streams.set(url, { response, next: 0 });
  }

  /** Publishes the next `count` events on `path`. */
  send(path, count) {
    const stream = this.#streams.get(path);
    const numbers = Array.from({ length: count }, (_, n) => stream.next + n);
    stream.response.write(numbers.map((n) => `data: ${n} ${PAD}\n\n`).join(''));
    stream.next += count;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** A reader that keeps up. It asks for the host that the link's clients ask for, to share with them. */
async function openKeeper(url, { host }) {
  const reading = new Reading();
  const parser = new SseParser(reading);
  const request = http.get(url, { agent: false, headers: { host } });
  const [response] = await once(request, 'response');
  response.on('data', (bytes) => parser.push(bytes));
  response.on('error', () => reading.end('cut'));
  return { reading, close: () => request.destroy() };
}

const numberOf = ({ data }) => Number(data.split(' ')[0]);

/**
 * Makes a client slow for a while, before `origin` with `SECTIONS`. `open(url)` starts one that comes
 * back by itself whenever its stream ends; it has `reading()` and `close()`.
 */
export async function slowForAWhile({ app, origin, one, isEventSource, open }) {
  const path = pathOf(one);
  const link = await SlowLink.start(origin);
  const keeper = await openKeeper(origin + path, new URL(link.url));
  let client;
  const publish = async (count) => {
    for (let left = count; left > 0; left -= AT_ONCE) {
      const wanted = keeper.reading.events.length + Math.min(AT_ONCE, left);
      app.send(path, Math.min(AT_ONCE, left));
      await until('the healthy reader', () => keeper.reading.events.length >= wanted, { everyMs: 1 });
    }
  };
  try {
    client = await open(link.url + path);
    await publish(BEFORE);
    await hasNewest(client, BEFORE);
    link.hold();
    await publish(HELD);
    link.release();
    await hasNewest(client, BEFORE + HELD);
    await publish(AFTER);
    await hasNewest(client, COUNT);
    const form = one.notice === 'auto' ? (isEventSource ? 'event' : 'comment') : one.notice;
    assertAnnounced(await client.reading(), link.readings, { ...one, form });
    assert.deepEqual(keeper.reading.events.map(numberOf), Array.from({ length: COUNT }, (_, n) => n));
    assert.deepEqual([keeper.reading.ended, keeper.reading.gaps], [null, []]);
  } finally {
    await client?.close();
    keeper.close();
    link.stop();
  }
}

/** Waits until the last event that a client has is the last of `count`. */
const hasNewest = (client, count) => {
  const numbers = async () => (await client.reading()).events.map(numberOf);
  const state = async () => `event ${count - 1}; there are ${await numbers()}`;
  return until(state, async () => (await numbers()).at(-1) === count - 1);
};

/** What `client` lost was announced, on the wire and to itself, as far as the form reaches it. */
function assertAnnounced(client, wire, { policy, form }) {
  const numbers = client.events.map(numberOf);
  const holes = numbers.flatMap((number, at) => {
    const missed = number - (at === 0 ? 0 : numbers[at - 1] + 1);
    assert.ok(missed >= 0, `${number} comes again or too late: ${numbers}`);
    return missed > 0 ? [{ at, number, missed }] : [];
  });
  assert.ok(holes.length > 0, 'nothing was lost, so this shows nothing');
  // Both count by the same events: no gap is announced where there is no hole. Who falls behind again
  // before the next event hears of one hole in parts.
  const heard = [...new Set(client.gaps.map(({ at }) => at))];
  assert.deepEqual(heard, form === 'event' ? holes.map(({ at }) => at) : []);
  for (const { number, missed } of holes) {
    const connection = wire.findIndex(({ events }) => events.some((event) => numberOf(event) === number));
    const { events, gaps } = wire[connection];
    const at = events.findIndex((event) => numberOf(event) === number);
    const told = gaps.filter((gap) => gap.at === at);
    if (form === 'close') assert.ok(connection > 0 && at === 0, 'it follows a stream that was closed');
    else {
      assert.deepEqual([...new Set(told.map((gap) => gap.form))], [form]);
      assert.equal(told.reduce((sum, gap) => sum + gap.missed, 0), missed);
    }
  }
  const stays = policy === 'skip' && form !== 'close';
  assert.equal(wire.length === 1, stays, `${wire.length} connections`);
}
