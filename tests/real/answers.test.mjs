// One answer (`on_end: final`) by real clients: whole, with the right end, and given once.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { until } from '../node/wait.mjs';
import { assertSeen, exactly } from './lib/checks.mjs';
import { CLIENTS } from './lib/clients.mjs';
import { startAnswering } from './lib/scripted.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

const TOKENS = Array.from({ length: 50 }, (_, at) => `token ${at}`);
const ANSWER = TOKENS.map((data) => ({ data }));
const HALF = ANSWER.length / 2;

let app;
let sidestream;

beforeEach(async () => {
  app = await startAnswering(TOKENS);
  sidestream = await Sidestream.start(configFor(app, { feed: { on_end: 'final', heartbeat: '1s' } }));
});

afterEach(async () => {
  await sidestream?.stop();
  await app?.stop();
});

// Without curl: its process is gone with an answer that is whole, before it is looked at.
const READERS = CLIENTS.filter(({ name, reconnects }) => !reconnects && !name.startsWith('curl'));

for (const client of READERS) {
  test(`${client.name} gets an answer from its start, at any time, and a clean end`, async () => {
    const url = `${sidestream[client.listener]}/feed`;
    const options = client.listener === 'secure' ? { ca: sidestream.ca } : {};
    const first = await client.open(url, options);
    await exactly(client, first.reading, ANSWER.slice(0, HALF));
    const second = await client.open(url, options);
    await exactly(client, second.reading, ANSWER.slice(0, HALF));
    const beats = () => sidestream.metric('sidestream_heartbeats_total');
    await until('heartbeats while the app thinks', async () => (await beats()) >= 2);
    app.finish();
    const third = await client.open(url, options);
    for (const { reading, close } of [first, second, third]) {
      await exactly(client, reading, ANSWER);
      await until('the end', () => reading.ended);
      assert.equal(reading.ended, 'complete');
      await close();
    }
    assert.equal(app.requests.length, 1);
  });
}

for (const client of CLIENTS.filter(({ name }) => name.startsWith('eventsource '))) {
  test(`${client.name} comes back after the end, and then no more`, async () => {
    const { reading, close } = await client.open(`${sidestream.plain}/feed`);
    app.finish();
    await exactly(client, reading, ANSWER);
    const done = 'sidestream_replays_total{route="feed",outcome="done"}';
    await until('the answer to its return', async () => (await sidestream.metric(done)) === 1);
    await close();
    assertSeen(client, reading.events, ANSWER);
    assert.equal(app.requests.length, 1);
  });
}
