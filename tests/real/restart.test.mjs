// The app dies under its subscribers, and comes back numbering its events from 1 again.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { until } from '../node/wait.mjs';
import { startNest } from './lib/apps.mjs';
import { assertAllAlike, assertLocalIds, assertSeen, exactly } from './lib/checks.mjs';
import { CLIENTS, EVENT_SOURCE_HEADERS, eventSource4, nodeHttp1 } from './lib/clients.mjs';
import { Crowd } from './lib/crowd.mjs';
import { numberedEvents } from './lib/payloads.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

const RING_EVENTS = 20;
const PLAIN_CLIENTS = CLIENTS.filter(({ listener }) => listener === 'plain');

let app;
let sidestream;
let opened;

beforeEach(async () => {
  opened = [];
  app = await startNest();
  const ring = { events_max: RING_EVENTS };
  sidestream = await Sidestream.start(configFor(app, { feed: { ring } }));
});

afterEach(async () => {
  for (const connection of opened) await connection.close();
  await sidestream?.stop();
  await app?.stop();
});

async function open(client, options) {
  const connection = await client.open(`${sidestream.plain}/feed`, options);
  opened.push(connection);
  return connection.reading;
}

/** Kills the app, starts it again, and waits until Sidestream is connected to it. */
async function restartApp() {
  await app.kill();
  await app.restart();
  await until('Sidestream to come back to the app', async () => (await app.stats()).open === 1);
}

const allHave = (readings, count) =>
  until(
    () => `${count} events for all; the least is ${Math.min(...readings.map((r) => r.events.length))}`,
    () => readings.every(({ events }) => events.length >= count),
  );

test('a thousand subscribers survive the death of the app, with the hole announced', async () => {
  const crowd = await Crowd.open(sidestream, '/feed', { http1: 500, http2: 500 });
  opened.push(crowd);
  const [earlier, later] = [numberedEvents(10), numberedEvents(10, { from: 10 })];
  await app.send(earlier);
  await allHave(crowd.readings, earlier.length);
  await restartApp();
  await app.send(later);
  await allHave(crowd.readings, earlier.length + later.length);

  assertAllAlike(crowd.readings);
  assertSeen({}, crowd.readings[0].events, [...earlier, ...later]);
  assertLocalIds(crowd.readings[0].events);
  for (const [readings, form] of [
    [crowd.eventSources, 'event'],
    [crowd.others, 'comment'],
  ]) {
    assert.ok(readings.length > 0);
    for (const { gaps } of readings) {
      assert.deepEqual(
        gaps.map((gap) => [gap.form, gap.at]),
        [[form, earlier.length]],
      );
    }
  }
});

test('every client stays connected over the death of the app', async () => {
  const all = [];
  for (const client of PLAIN_CLIENTS) all.push({ client, reading: await open(client) });
  const readings = all.map(({ reading }) => reading);
  const [earlier, later] = [numberedEvents(3), numberedEvents(3, { from: 3 })];
  await app.send(earlier);
  await allHave(readings, 3);
  await restartApp();
  await app.send(later);
  await allHave(readings, 6);
  for (const { client, reading } of all) {
    assertSeen(client, reading.events, [...earlier, ...later]);
    assert.deepEqual([reading.opens, reading.ended], [1, null], client.name);
  }
});

test('EventSource hears of the hole by an event', async () => {
  const reading = await open(eventSource4);
  await app.send(numberedEvents(3));
  await allHave([reading], 3);
  await restartApp();
  await app.send(numberedEvents(3));
  await allHave([reading], 6);
  assert.equal(reading.gaps.length, 1);
  assert.equal(reading.gaps[0].at, 3);
  assert.notEqual(reading.gaps[0].id, '');
});

/** Events before and after a restart of the app, with a reader that stays throughout. */
async function eventsAroundRestart() {
  const keeper = await open(nodeHttp1);
  const [earlier, later] = [numberedEvents(5), numberedEvents(5, { from: 5 })];
  await app.send(earlier);
  await allHave([keeper], 5);
  await restartApp();
  await app.send(later);
  await allHave([keeper], 10);
  return { keeper, earlier, later };
}

test('an id that is still in the ring resumes exactly, the hole in its place', async () => {
  const { keeper, earlier, later } = await eventsAroundRestart();
  for (const at of [0, 2, 4, 6]) {
    const headers = EVENT_SOURCE_HEADERS;
    const reading = await open(nodeHttp1, { headers, lastEventId: keeper.events[at].id });
    const expected = [...earlier, ...later].slice(at + 1);
    await allHave([reading], expected.length);
    assertSeen({}, reading.events, expected);
    const gapsAt = reading.gaps.map((gap) => gap.at);
    assert.deepEqual(gapsAt, at < earlier.length ? [earlier.length - 1 - at] : []);
  }
});

test('the id of the hole itself resumes right behind it', async () => {
  const watcher = await open(nodeHttp1, { headers: EVENT_SOURCE_HEADERS });
  const { later } = await eventsAroundRestart();
  const reading = await open(nodeHttp1, { lastEventId: watcher.gaps[0].id });
  await exactly({}, reading, later);
});

test('an id that was evicted is answered with a hole, then what the ring still has', async () => {
  const { keeper, later } = await eventsAroundRestart();
  const more = numberedEvents(2 * RING_EVENTS, { from: 10 });
  await app.send(more);
  await allHave([keeper], 10 + more.length);
  const reading = await open(nodeHttp1, {
    headers: EVENT_SOURCE_HEADERS,
    lastEventId: keeper.events[2].id,
  });
  await until('the hole', () => reading.gaps.length > 0);
  assert.equal(reading.gaps[0].at, 0, 'announced before any event');
  const last = numberedEvents(3, { from: 10 + more.length });
  await app.send(last);
  await until('the newest', () => reading.events.at(-1)?.data === last.at(-1).data);
  // Never a wrong event: what comes is the end of what was sent, whole and in order.
  const sent = [...later, ...more, ...last];
  assertSeen({}, reading.events, sent.slice(-reading.events.length));
  assert.ok(reading.events.length >= last.length);
});

test('after Sidestream itself restarted, an old id is answered with a hole', async () => {
  const reading = await open(nodeHttp1);
  await app.send(numberedEvents(5));
  await allHave([reading], 5);
  await sidestream.child.end();
  await sidestream.spawn();

  const again = await open(nodeHttp1, {
    headers: EVENT_SOURCE_HEADERS,
    lastEventId: reading.events[2].id,
  });
  await until('Sidestream to come back to the app', async () => (await app.stats()).open === 1);
  const later = numberedEvents(5, { from: 5 });
  await app.send(later);
  await allHave([again], 5);
  assertSeen({}, again.events, later);
  assert.deepEqual(
    again.gaps.map(({ at }) => at),
    [0],
  );
});

test('EventSource comes back by itself after Sidestream restarted, and hears of the hole', async () => {
  const reading = await open(eventSource4);
  await app.send(numberedEvents(3));
  await allHave([reading], 3);
  const { total } = await app.stats();
  await sidestream.child.end();
  await sidestream.spawn();
  await until('EventSource to come back', async () => (await app.stats()).total > total);
  await until('EventSource to be told of the hole', () => reading.gaps.length > 0);
  const later = numberedEvents(3, { from: 3 });
  await app.send(later);
  await allHave([reading], 6);
  assertSeen({}, reading.events.slice(3), later);
  assert.deepEqual(
    reading.gaps.map(({ at }) => at),
    [3],
  );
});
