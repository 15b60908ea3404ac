// Two users on a route with the default sharing: by credentials.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { until } from '../node/wait.mjs';
import { startNest } from './lib/apps.mjs';
import { nodeHttp1, nodeHttp2 } from './lib/clients.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

// Whoever joins later than `reauth` costs the app a request, so only the test of that makes it short.
const MINE = { name: 'mine', path: '/mine', action: 'fanout', late_join: 'all' };
const EVENTS_SEEN = 20;

let app;
let sidestream;

before(async () => {
  app = await startNest();
  sidestream = await Sidestream.start(configFor(app, { routes: [MINE] }));
});

after(async () => {
  await sidestream?.stop();
  await app?.stop();
});

const owners = ({ events }) => [...new Set(events.map(({ data }) => JSON.parse(data).owner))];

test('two cookies make two channels, and never a byte crosses', async () => {
  const users = ['session=alice', 'session=bob'];
  const connections = [];
  try {
    for (const cookie of [...users, ...users]) {
      const options = { headers: { cookie } };
      for (const client of [nodeHttp1, nodeHttp2]) {
        connections.push({ cookie, ...(await client.open(`${sidestream.plain}/mine`, options)) });
      }
    }
    for (const { cookie, reading } of connections) {
      await until('events', () => reading.events.length >= EVENTS_SEEN);
      assert.deepEqual(owners(reading), [cookie]);
      assert.match(reading.headers['cache-control'], /\bprivate\b/);
    }
    const { open, total, heads } = await app.stats('/mine');
    assert.deepEqual({ open, total }, { open: 2, total: 2 });
    assert.deepEqual(heads.map(({ cookie }) => cookie).sort(), users);
  } finally {
    connections.forEach(({ close }) => close());
  }
});

test("an id of another user's channel gives no event of it", async () => {
  const open = (cookie, lastEventId) =>
    nodeHttp1.open(`${sidestream.plain}/mine`, { headers: { cookie }, lastEventId });
  const carol = await open('session=carol');
  await until('events', () => carol.reading.events.length >= EVENTS_SEEN);
  const dave = await open('session=dave', carol.reading.events[0].id);
  try {
    await until('events', () => dave.reading.events.length >= EVENTS_SEEN);
    assert.deepEqual(owners(dave.reading), ['session=dave']);
    assert.equal(dave.reading.gaps.length, 1, 'an id that the channel does not know is a gap');
  } finally {
    carol.close();
    dave.close();
  }
});

test('a session that is over lets nobody in, though another tab of it still reads', async () => {
  const headers = { cookie: 'session=frank' };
  const routes = [{ ...MINE, reauth: '500ms' }];
  const sidestream = await Sidestream.start(configFor(app, { routes }));
  let tab;
  try {
    tab = await nodeHttp1.open(`${sidestream.plain}/mine`, { headers });
    await until('events', () => tab.reading.events.length >= EVENTS_SEEN);
    await app.logOut(headers.cookie);
    for (const client of [nodeHttp1, nodeHttp2]) {
      await until('the answer 401', async () => {
        const { reading, close } = await client.open(`${sidestream.plain}/mine`, { headers });
        try {
          if (reading.status !== 401) return false;
          await until('the end', () => reading.ended);
          assert.deepEqual(reading.events, [], 'no byte of the stream');
          return true;
        } finally {
          close();
        }
      });
    }
    await until('the end of the tab that was in', () => tab.reading.ended);
    await until('no stream at the app', async () => {
      const { heads, open } = await app.stats('/mine');
      return heads.some(({ cookie }) => cookie === headers.cookie) && open === 0;
    });
  } finally {
    tab?.close();
    await sidestream.stop();
  }
});

test('a public route sends no credentials to the app', async () => {
  const headers = { cookie: 'session=erin', authorization: 'Bearer secret' };
  const { close } = await nodeHttp1.open(`${sidestream.plain}/feed`, { headers });
  try {
    const [head] = (await app.stats('/feed')).heads;
    assert.equal(head.cookie, undefined);
    assert.equal(head.authorization, undefined);
  } finally {
    close();
  }
});
