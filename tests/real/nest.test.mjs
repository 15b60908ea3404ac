// The NestJS app of the tutorial, unchanged, under a thousand clients.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { until } from '../node/wait.mjs';
import { startNest } from './lib/apps.mjs';
import { assertAllAlike, assertLocalIds, assertSeen, exactly } from './lib/checks.mjs';
import { nodeHttp1 } from './lib/clients.mjs';
import { Crowd } from './lib/crowd.mjs';
import { TRICKY, numberedEvents } from './lib/payloads.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

const TUTORIAL = { name: 'tutorial', path: '/xxx/stream', action: 'fanout', share: 'public' };

let app;
let sidestream;

before(async () => {
  app = await startNest();
  sidestream = await Sidestream.start(configFor(app, { routes: [TUTORIAL] }));
});

after(async () => {
  await sidestream?.stop();
  await app?.stop();
});

for (const listener of ['plain', 'secure']) {
  test(`a thousand clients of the ${listener} listener cost the app one connection and each gets every event`, async () => {
    const before = await app.stats();
    const crowd = await Crowd.open(sidestream, '/feed', { http1: 500, http2: 500, listener });
    try {
      const connections = async () => (await app.stats()).total - before.total;
      assert.equal(await connections(), 1);

      const events = [...numberedEvents(40), ...TRICKY];
      await app.send(events);
      const short = () => crowd.readings.filter((reading) => reading.events.length < events.length);
      await until(() => `all events; ${short().length} clients lack some`, () => short().length === 0);
      assertSeen({}, crowd.readings[0].events, events);
      assertLocalIds(crowd.readings[0].events);
      assertAllAlike(crowd.readings);
      assert.ok(crowd.readings.every(({ gaps }) => gaps.length === 0));
      assert.equal(await connections(), 1);
    } finally {
      crowd.close();
    }
  });
}

test('Cache-Control: private, which NestJS always sends, does not stop sharing on a public route', async () => {
  const direct = await nodeHttp1.open(`${app.url}/feed`);
  assert.match(direct.reading.headers['cache-control'], /\bprivate\b/);
  direct.close();

  const before = await app.stats();
  const crowd = await Crowd.open(sidestream, '/feed', { http1: 10, http2: 10 });
  try {
    const { total } = await app.stats();
    assert.ok(total - before.total <= 1, 'one connection at most was opened for all');
    for (const { headers } of crowd.readings) {
      assert.equal(headers['content-type'], 'text/event-stream');
      assert.match(headers['cache-control'], /\bno-transform\b/);
      assert.equal(headers['x-accel-buffering'], 'no');
      assert.equal(headers['content-length'], undefined);
    }
  } finally {
    crowd.close();
  }
});

test('the stream of the tutorial: aaa at once, bbb every 2 s, ccc every 5 s', async () => {
  const first = await nodeHttp1.open(`${sidestream.plain}/xxx/stream`);
  await until('aaa', () => first.reading.events.length > 0);
  const crowd = await Crowd.open(sidestream, '/xxx/stream', { http1: 20, http2: 20 });
  try {
    const data = () => first.reading.events.map((event) => event.data);
    await until('ccc', () => data().includes('{"msg":"ccc"}'));
    const expected = ['aaa', 'bbb', 'bbb', 'ccc'].map((msg) => `{"msg":"${msg}"}`);
    assert.deepEqual(data().slice(0, expected.length), expected);
    // Who came later joins live: the same stream without its beginning, wherever it came in.
    const { events } = first.reading;
    const level = () => crowd.readings.every((reading) => reading.events.at(-1)?.id === events.at(-1).id);
    await until('all to have the same last event', level);
    for (const reading of crowd.readings) {
      assert.deepEqual(reading.events, events.slice(-reading.events.length));
      assert.ok(reading.events.length < events.length, 'joined after aaa');
    }
    assert.equal((await app.stats('/xxx/stream')).total, 1);
  } finally {
    first.close();
    crowd.close();
  }
});

test('what is not a stream passes through, on every protocol', async () => {
  const events = Array.from({ length: 5 }, (_, n) => ({ data: `${n}`.repeat(100_000) }));
  const body = Buffer.from(JSON.stringify(events));
  const { reading, close } = await nodeHttp1.open(`${sidestream.plain}/feed`);
  try {
    for (const [flag, origin] of [
      ['--http1.1', sidestream.plain],
      ['--http1.1', sidestream.secure],
      ['--http2-prior-knowledge', sidestream.plain],
      ['--http2', sidestream.secure],
    ]) {
      assert.deepEqual(await post(flag, `${origin}/control/send`, body), { sent: events.length });
    }
    await exactly({}, reading, new Array(4).fill(events).flat());
  } finally {
    close();
  }
});

/** POSTs JSON with curl and resolves with the JSON of the answer. */
async function post(flag, url, body) {
  const options = ['--silent', '--show-error', '--fail', '--max-time', '20', '--cacert', sidestream.ca];
  const data = ['-H', 'content-type: application/json', '--data-binary', '@-'];
  const curl = promisify(execFile)('curl', [flag, ...options, ...data, url]);
  curl.child.stdin.end(body);
  return JSON.parse((await curl).stdout);
}
