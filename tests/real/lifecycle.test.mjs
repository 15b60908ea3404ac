// Leaving on SIGTERM, and reloading the configuration while streams run.

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { watchLateness } from '../node/lateness.mjs';
import { until } from '../node/wait.mjs';
import { startNest } from './lib/apps.mjs';
import { exactly } from './lib/checks.mjs';
import { nodeHttp1 } from './lib/clients.mjs';
import { Crowd } from './lib/crowd.mjs';
import { numberedEvents } from './lib/payloads.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

const RELOAD_OK = 'sidestream_config_last_reload_successful';

/** How far the leaving may be from an even slope, as a share of the window: readers are closed four times a second. */
const UNEVEN_MAX = 0.12;

let app;
let sidestream;
let opened = [];

async function start(options) {
  app = await startNest();
  sidestream = await Sidestream.start(configFor(app, options));
}

afterEach(async () => {
  for (const connection of opened) connection.close();
  opened = [];
  await sidestream?.stop();
  await app?.stop();
});

async function open(path = '/feed', options = {}) {
  const connection = await nodeHttp1.open(sidestream.plain + path, options);
  opened.push(connection);
  return connection.reading;
}

/** The largest distance between the share that has left and the share of the window that has passed. */
function unevenness(after, window) {
  const sorted = after.toSorted((a, b) => a - b);
  const distances = sorted.map((seconds, n) => {
    const [passed, before, then] = [seconds / window, n / sorted.length, (n + 1) / sorted.length];
    return Math.max(Math.abs(passed - before), Math.abs(passed - then));
  });
  return Math.max(...distances);
}

/** When each tenth had left, in seconds. */
function deciles(after) {
  const sorted = after.toSorted((a, b) => a - b);
  return Array.from({ length: 10 }, (_, n) => sorted[Math.ceil(((n + 1) * sorted.length) / 10) - 1].toFixed(1));
}

test('SIGTERM closes a thousand subscribers evenly over the window, then exits with 0', async () => {
  const WINDOW_S = 8;
  const MARGIN_S = 5;
  const SUBSCRIBERS = 1_000;
  await start({ drain: { window: `${WINDOW_S}s`, margin: `${MARGIN_S}s` } });
  const crowd = await Crowd.open(sidestream, '/feed', { http1: SUBSCRIBERS });
  opened.push(crowd);
  await app.send(numberedEvents(5));
  await until('events', () => crowd.readings.every(({ events }) => events.length === 5));

  const late = watchLateness();
  const began = performance.now();
  const exit = await sidestream.child.stop('SIGTERM', { timeoutMs: (WINDOW_S + MARGIN_S) * 1_000 });
  assert.deepEqual([exit.code, exit.signal], [0, null]);
  await until('all streams to end', () => crowd.readings.every(({ ended }) => ended));

  const after = crowd.readings.map(({ endedAt }) => (endedAt - began) / 1_000);
  const uneven = unevenness(after, WINDOW_S);
  const unevenMax = UNEVEN_MAX + late() / (WINDOW_S * 1_000);
  assert.ok(uneven < unevenMax, `${uneven} of ${unevenMax} of the window off an even slope: ${deciles(after)}`);

  // A clean end makes EventSource come back; to others it would say that the answer is whole.
  assert.ok(crowd.eventSources.every(({ ended }) => ended === 'complete'));
  assert.ok(crowd.others.every(({ ended }) => ended === 'cut'));
  for (const { events, gaps } of crowd.readings) {
    assert.deepEqual([events.length, gaps.length], [5, 0], 'no event was torn or invented');
  }
});

test('HTTP/2 subscribers are drained too, and told not to open more', async () => {
  await start({ drain: { window: '2s', margin: '5s' } });
  const crowd = await Crowd.open(sidestream, '/feed', { http2: 400 });
  opened.push(crowd);
  const exit = await sidestream.child.stop('SIGTERM', { timeoutMs: 7_000 });
  assert.deepEqual([exit.code, exit.signal], [0, null]);
  await until('all streams to end', () => crowd.readings.every(({ ended }) => ended));
  assert.ok(crowd.sessions.every(({ goneAway }) => goneAway));
  assert.ok(crowd.eventSources.every(({ ended }) => ended === 'complete'));
  assert.ok(crowd.others.every(({ ended }) => ended === 'cut'));
});

test('a bad configuration file changes nothing and says where and why', async () => {
  await start({});
  const reading = await open();
  await app.send(numberedEvents(3));
  await exactly({}, reading, numberedEvents(3));
  assert.equal(await sidestream.metric(RELOAD_OK), 1);

  const good = sidestream.fileFor(sidestream.config);
  const lines = good.split('\n');
  const line = lines.findIndex((text) => text.includes('"fanout"'));
  const column = lines[line].indexOf('"fanout"') + 1;
  sidestream.writeConfigText(good.replace('"fanout"', '"fan-out"'));
  await until('the metric to show it', async () => (await sidestream.metric(RELOAD_OK)) === 0);
  assert.ok(sidestream.log.includes(`${line + 1}:${column}`), `${line + 1}:${column} in ${sidestream.log}`);
  assert.ok(sidestream.log.includes('fan-out'), sidestream.log);

  // The stream goes on, and the old configuration still takes new clients.
  const joiner = await open();
  await app.send(numberedEvents(3, { from: 3 }));
  await exactly({}, reading, numberedEvents(6));
  await exactly({}, joiner, numberedEvents(3, { from: 3 }));
  assert.equal((await app.stats()).total, 1);

  sidestream.writeConfigText(good);
  await until('the metric to recover', async () => (await sidestream.metric(RELOAD_OK)) === 1);
});

test('a reload that adds a route cuts no stream', async () => {
  await start({});
  const reading = await open();
  const mine = { name: 'mine', path: '/mine', action: 'fanout', share: 'public' };
  const { routes } = sidestream.config;
  sidestream.writeConfig({ ...sidestream.config, routes: [mine, ...routes] });
  // As a pass-through route /mine hands on NestJS's own ids; as a fan-out route it sends ours.
  await until('the new route', async () => {
    const probe = await nodeHttp1.open(`${sidestream.plain}/mine`);
    await until('an event', () => probe.reading.events.length > 0);
    probe.close();
    return probe.reading.events[0].id.includes('-');
  });
  await app.send(numberedEvents(3));
  await exactly({}, reading, numberedEvents(3));
  assert.equal(reading.opens, 1);
  assert.equal((await app.stats()).total, 1);
});
