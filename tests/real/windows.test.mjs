// HTTP/2 clients that take little at a time, with event streams and bodies beside each other on one
// connection: what a client has no room for waits, all else comes, and everything comes exactly.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Child } from '../node/child.mjs';
import { Reading, SseParser } from '../node/sse.mjs';
import { until } from '../node/wait.mjs';
import { assertSeen, exactly } from './lib/checks.mjs';
import { PYTHON, openOnSession } from './lib/clients.mjs';
import { bodyOf, startMixed } from './lib/mixed.mjs';
import { Nghttp } from './lib/nghttp.mjs';
import { numberedEvents } from './lib/payloads.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

const LISTENERS = ['plain', 'secure'];
const MEMBERS = 'sidestream_subscribers{route="feed",protocol="h2"}';
const BY_HAND = new URL('clients/h2_by_hand.py', import.meta.url).pathname;

let app;
let sidestream;
let directory;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sidestream-windows-'));
  app = await startMixed();
  // Slow are all of them here; a minute without a byte is more than a busy machine makes of it.
  const feed = { path: '/feed/{name}', slow: { stall_max: '1m' } };
  sidestream = await Sidestream.start(configFor(app, { feed }));
});

after(async () => {
  await sidestream?.stop();
  await app?.stop();
  rmSync(directory, { recursive: true, force: true });
});

let names = 0;

/** Each test has a stream of its own. */
const newName = () => `${(names += 1)}`;

/** Sends `events` to so many subscribers, once they are there, and ends their stream. */
async function publishTo(members, name, events) {
  const state = async () => `${members} subscribers; there are ${await sidestream.metric(MEMBERS)}`;
  await until(state, async () => (await sidestream.metric(MEMBERS)) === members && app.isRead(name));
  app.send(name, events);
  app.end(name);
}

/** `bytes` is the stream of `events`, or the body that `path` names. */
function assertExact(path, bytes, events) {
  const [, kind, size] = path.split('/');
  if (kind === 'body') return assert.ok(bytes.equals(bodyOf(Number(size))), path);
  const reading = new Reading();
  new SseParser(reading).push(bytes);
  assertSeen({}, reading.events, events);
  assert.deepEqual(reading.gaps, []);
}

/** Bits of the windows of a stream and of the connection; the size of a body and how many events. */
const NGHTTP = [
  { bits: 1, size: 2_000, count: 10 },
  { bits: 10, size: 100_000, count: 100 },
  { bits: 16, size: 4_000_000, count: 1_000 },
];

test('curl: 10 streams and 10 bodies in parallel on one connection', async () => {
  const name = newName();
  const events = numberedEvents(1_000);
  const paths = Array.from({ length: 20 }, (_, n) => (n % 2 ? '/body/1000000' : `/feed/${name}`));
  const fileOf = (n) => join(directory, `${n}`);
  const each = paths.flatMap((path, n) => ['--output', fileOf(n), sidestream.secure + path]);
  const told = ['--silent', '--show-error', '--fail', '--write-out', '%{num_connects}\n'];
  const args = ['--parallel', '--http2', '--cacert', sidestream.ca, ...told, ...each];
  let connects = '';
  const curl = new Child('curl', 'curl', args, { onStdout: (bytes) => (connects += bytes) });
  await publishTo(10, name, events);
  await curl.left();
  paths.forEach((path, n) => assertExact(path, readFileSync(fileOf(n)), events));
  assert.deepEqual(connects.trim().split('\n').filter((count) => count !== '0'), ['1']);
});

for (const listener of LISTENERS) {
  for (const { bits, size, count } of NGHTTP) {
    const window = 2 ** bits - 1;
    test(`nghttp, ${listener}: 5 streams and 5 bodies through windows of ${window} bytes`, async () => {
      const name = newName();
      const paths = [`/feed/${name}`, `/body/${size}`];
      const flags = [`--window-bits=${bits}`, `--connection-window-bits=${bits}`];
      const nghttp = new Nghttp(sidestream[listener], paths, { times: 5, flags });
      const events = numberedEvents(count);
      await publishTo(5, name, events);
      const streams = await nghttp.streams();
      assert.equal(streams.length, 10);
      for (const { path, bytes, longest } of streams) {
        assertExact(path, bytes, events);
        assert.ok(longest <= window, `a frame of ${longest} bytes`);
      }
    });
  }

  test(`node:http2, ${listener}: initial windows that change while events and bodies flow`, async () => {
    const ca = listener === 'secure' ? { ca: readFileSync(sidestream.ca) } : {};
    const session = http2.connect(sidestream[listener], { settings: { initialWindowSize: 1 }, ...ca });
    await once(session, 'connect');
    try {
      const name = newName();
      const open = () => openOnSession(session, `/feed/${name}`);
      const feeds = await Promise.all(Array.from({ length: 10 }, open));
      const bodies = Array.from({ length: 10 }, async () => {
        const parts = [];
        for await (const part of session.request({ ':path': '/body/100000' })) parts.push(part);
        return Buffer.concat(parts);
      });
      const events = [];
      for (const initialWindowSize of [100, 1, 5_000, 0, 1, 65_535, 10, 1_000_000]) {
        const more = numberedEvents(20, { from: events.length });
        events.push(...more);
        app.send(name, more);
        await new Promise((resolve) => session.settings({ initialWindowSize }, resolve));
      }
      for (const { reading } of feeds) await exactly({}, reading, events);
      for (const body of await Promise.all(bodies)) assertExact('/body/100000', body);
    } finally {
      session.destroy();
    }
  });

  const scene = (title, ...args) =>
    test(`h2 by hand, ${listener}: ${title}`, () => {
      const trust = listener === 'secure' ? ['--ca', sidestream.ca] : [];
      const play = [BY_HAND, ...trust, ...args, sidestream[listener], app.url, newName()];
      return new Child('h2_by_hand.py', PYTHON, play).left();
    });
  scene('each byte that is granted is used, and no other', 'grants_of_one_byte');
  scene('windows below zero, and SETTINGS alone that open them', 'settings_in_midstream');
  scene('streams that are reset among others', 'resets_among_others');
  scene('PING while a batch is pending', 'ping_while_a_batch_is_pending');
  scene('beside a body that nobody reads others go on', 'a_body_that_nobody_reads');
  scene('GOAWAY from the client', 'goaway_from_the_client');
  for (const seed of [1, 2, 3]) {
    scene(`a hundred streams in disorder ${seed}`, `--seed=${seed}`, 'a_hundred_streams');
  }
}
