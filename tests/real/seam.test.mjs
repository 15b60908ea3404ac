// Joining while events flow: where replay meets the live stream, nothing is lost, doubled or torn.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { pause, until } from '../node/wait.mjs';
import { startBare } from './lib/apps.mjs';
import { assertSeen } from './lib/checks.mjs';
import { http2Session, nodeHttp1, openOnSession } from './lib/clients.mjs';
import { numberedEvents } from './lib/payloads.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

const JOINS = 1_000;
const AT_ONCE = 20;
/** Events that every joiner reads beyond the seam. */
const READ_ON = 10;
/** How far back joiners resume at most; the ring holds more. */
const BACK_MAX = 200;

let app;
let sidestream;
let session;

before(async () => {
  app = await startBare();
  sidestream = await Sidestream.start(configFor(app));
  session = await http2Session(sidestream.plain);
});

after(async () => {
  session?.destroy();
  await sidestream?.stop();
  await app?.stop();
});

const numberOf = ({ data }) => Number(data.split('-')[1]);

/** The events from `first` on, as many as `count`. */
const sentFrom = (first, count) => numberedEvents(count, { from: first });

test(`${JOINS} joins while events flow, live and by id, are exact at the seam`, async () => {
  const keeper = await nodeHttp1.open(`${sidestream.plain}/feed`);
  let flowing = true;
  const flow = (async () => {
    for (let from = 0; flowing; from += 5) {
      await app.send(numberedEvents(5, { from }));
      await pause(1);
    }
  })();
  try {
    await until('a history', () => keeper.reading.events.length > BACK_MAX);
    const workers = Array.from({ length: AT_ONCE }, async (_, worker) => {
      for (let n = worker; n < JOINS; n += AT_ONCE) await joinOnce(keeper.reading.events, n);
    });
    await Promise.all(workers);
  } finally {
    flowing = false;
    await flow;
    keeper.close();
  }
  const { events, gaps } = keeper.reading;
  assertSeen({}, events, sentFrom(0, events.length));
  assert.deepEqual(gaps, []);
});

/** Every second join resumes, every other pair of joins is on HTTP/2; how far back varies with `n`. */
async function joinOnce(history, n) {
  const from = n % 2 ? history.at(-1 - ((n * 37) % BACK_MAX)) : undefined;
  const options = from ? { lastEventId: from.id } : {};
  const { reading, close } =
    n % 4 < 2
      ? await nodeHttp1.open(`${sidestream.plain}/feed`, options)
      : await openOnSession(session, '/feed', options);
  try {
    await until('events beyond the seam', () => {
      const behind = from ? numberOf(history.at(-1)) - numberOf(from) : 0;
      return reading.events.length >= Math.min(behind, BACK_MAX) + READ_ON;
    });
  } finally {
    close();
  }
  assert.deepEqual(reading.gaps, []);
  const first = numberOf(reading.events[0]);
  if (from) assert.equal(first, numberOf(from) + 1, 'the event after the id comes first');
  assertSeen({}, reading.events, sentFrom(first, reading.events.length));
}
