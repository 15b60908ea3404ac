// Every real client through Sidestream from every real app: exact events, and resume after a cut.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { until } from '../node/wait.mjs';
import { startBare, startFastApi, startNest } from './lib/apps.mjs';
import { assertSeen, exactly } from './lib/checks.mjs';
import { CLIENTS } from './lib/clients.mjs';
import { Cutter } from './lib/cutter.mjs';
import { TRICKY, numberedEvents } from './lib/payloads.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

const APPS = [startNest, startFastApi, startBare];
/** Ways to say where to resume: both must work for clients that are opened again. */
const RESUME_BY = ['header', 'query'];

const LONGEST = Math.max(...TRICKY.map(({ data }) => data.length));

for (const startApp of APPS) {
  const title = { startNest: 'NestJS', startFastApi: 'FastAPI', startBare: 'bare Node' };
  describe(`${title[startApp.name]} app`, () => {
    let app;
    let sidestream;

    before(async () => {
      app = await startApp();
      sidestream = await Sidestream.start(configFor(app));
    });

    after(async () => {
      await sidestream?.stop();
      await app?.stop();
    });

    const target = ({ listener }) => ({
      url: `${sidestream[listener]}/feed`,
      options: listener === 'secure' ? { ca: sidestream.ca } : {},
    });

    for (const client of CLIENTS) {
      test(`${client.name} gets exact events`, async () => {
        const { url, options } = target(client);
        const { reading, close } = await client.open(url, options);
        try {
          if (client.version) assert.equal(reading.headers.version, client.version);
          await app.send(TRICKY);
          await exactly(client, reading, TRICKY);
        } finally {
          await close();
        }
      });

      if (client.reconnects) {
        test(`${client.name} resumes by itself`, () => resumesByItself(client));
        if (client.keepsBareIds) {
          test(`${client.name} misses nothing when cut before its first event`, () =>
            cutBeforeTheFirstEvent(client));
        }
      } else {
        for (const by of RESUME_BY) {
          test(`${client.name} resumes by ${by}`, () => resumesWhenOpenedAgain(client, by));
        }
      }
    }

    async function resumesByItself(client) {
      const cutter = await Cutter.start(sidestream.plain);
      const { reading, close } = await client.open(`${cutter.url}/feed`);
      try {
        const events = [...numberedEvents(5), ...TRICKY, ...numberedEvents(5, { from: 5 })];
        await app.send(events.slice(0, 5));
        await exactly(client, reading, events.slice(0, 5));
        // Cut in the middle of a burst, and of its longest event.
        cutter.cutAfter(LONGEST / 2);
        await app.send(events.slice(5, -5));
        await until(`${client.name} to come back`, () => cutter.connections === 2);
        await app.send(events.slice(-5));
        await exactly(client, reading, events);
      } finally {
        await close();
        cutter.stop();
      }
    }

    async function cutBeforeTheFirstEvent(client) {
      const cutter = await Cutter.start(sidestream.plain);
      const { reading, close } = await client.open(`${cutter.url}/feed`);
      try {
        cutter.cut();
        await until('the cut to be felt', () => reading.ended || cutter.connections === 2);
        await app.send(numberedEvents(3));
        await exactly(client, reading, numberedEvents(3));
      } finally {
        await close();
        cutter.stop();
      }
    }

    async function resumesWhenOpenedAgain(client, by) {
      const { url, options } = target(client);
      const events = [...numberedEvents(5), ...TRICKY, ...numberedEvents(5, { from: 5 })];
      const first = await client.open(url, options);
      await app.send(events.slice(0, -5));
      await until('a part of the events', () => first.reading.events.length > 6);
      await first.close();
      const { events: got, lastEventId } = first.reading;
      await app.send(events.slice(-5));

      const query = `last_event_id=${encodeURIComponent(lastEventId)}`;
      const again =
        by === 'query'
          ? await client.open(`${url}?${query}`, options)
          : await client.open(url, { ...options, lastEventId });
      try {
        await exactly(client, again.reading, events.slice(got.length));
        assertSeen(client, got, events.slice(0, got.length));
      } finally {
        await again.close();
      }
    }
  });
}
