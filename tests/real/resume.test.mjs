// An app that replays by `Last-Event-ID` (`resume: true`): neither its restart nor ours is a gap.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { until } from '../node/wait.mjs';
import { Crowd } from './lib/crowd.mjs';
import { assertAllAlike, assertSeen, exactly } from './lib/checks.mjs';
import { eventSource4, nodeHttp1 } from './lib/clients.mjs';
import { numberedEvents } from './lib/payloads.mjs';
import { startResuming } from './lib/scripted.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

let app;
let sidestream;
let opened;

const start = () =>
  Sidestream.start(configFor(app, { feed: { resume: true }, ids_key: 'the same for all of ours' }));

beforeEach(async () => {
  opened = [];
  app = await startResuming();
  sidestream = await start();
});

afterEach(async () => {
  for (const connection of opened) await connection.close();
  await sidestream?.stop();
  await app?.stop();
});

const allHave = (readings, count) =>
  until(`${count} events for all`, () => readings.every(({ events }) => events.length >= count));

test('the app is restarted under its subscribers, and they miss nothing', async () => {
  const crowd = await Crowd.open(sidestream, '/feed', { http1: 50, http2: 50 });
  opened.push(crowd);
  const all = numberedEvents(30);
  app.send(all.slice(0, 10));
  await allHave(crowd.readings, 10);
  await app.stop();
  app.send(all.slice(10, 20));
  await app.start(app.port);
  await until('the stream', () => app.open === 1);
  app.send(all.slice(20));
  await allHave(crowd.readings, 30);
  assertAllAlike(crowd.readings);
  assertSeen({}, crowd.readings[0].events, all);
  for (const { gaps } of crowd.readings) assert.deepEqual(gaps, []);
  assert.equal(app.requests.at(-1)['last-event-id'], 'order/10');
});

test('two hundred subscribers move to a new process, which asks the app once', async () => {
  const before = await nodeHttp1.open(`${sidestream.plain}/feed`);
  opened.push(before);
  const all = numberedEvents(20);
  app.send(all.slice(0, 10));
  await exactly({}, before.reading, all.slice(0, 10));
  const lastEventId = before.reading.events[4].id;
  // On the same address: an id proves itself to the host that it was given by.
  await sidestream.child.end();
  await sidestream.spawn();
  const asked = app.requests.length;
  const open = () => nodeHttp1.open(`${sidestream.plain}/feed`, { lastEventId });
  const after = await Promise.all(Array.from({ length: 200 }, open));
  opened.push(...after);
  app.send(all.slice(10));
  for (const { reading } of after) await exactly({}, reading, all.slice(5));
  assert.equal(app.requests.length, asked + 1);
  assert.equal(app.requests.at(-1)['last-event-id'], 'order/5');
});

test('EventSource carries the id over a restart of the process by itself', async () => {
  const connection = await eventSource4.open(`${sidestream.plain}/feed`);
  opened.push(connection);
  const all = numberedEvents(20);
  app.send(all.slice(0, 10));
  await exactly(eventSource4, connection.reading, all.slice(0, 10));
  await sidestream.child.end();
  app.send(all.slice(10, 15));
  await sidestream.spawn();
  await until('its return', () => connection.reading.opens === 2);
  app.send(all.slice(15));
  await exactly(eventSource4, connection.reading, all);
});
