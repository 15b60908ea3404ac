// Libraries on a slow link: what they lose is announced in a form that they survive.

import { after, before, test } from 'node:test';

import { CASES, NumberingApp, SECTIONS, pathOf, slowForAWhile } from '../node/slow_reader.mjs';
import { Reading } from '../node/sse.mjs';
import { until } from '../node/wait.mjs';
import { eventSource4, fetchEventSourceClient, httpxSse } from './lib/clients.mjs';
import { QUICK, Sidestream } from './lib/sidestream.mjs';

let app;
let sidestream;

before(async () => {
  app = await NumberingApp.start();
  sidestream = await Sidestream.start({ ...QUICK, ...SECTIONS, upstreams: { app: app.url } });
});

after(async () => {
  await sidestream?.stop();
  app?.stop();
});

/** Keeps a client on `url`: one that does not come back by itself is opened again, as a program would. */
async function follow(client, url) {
  if (client.reconnects) {
    const { reading, close } = await client.open(url);
    return { reading: () => reading, close };
  }
  const reading = new Reading();
  const open = () => client.open(url, { reading, lastEventId: reading.lastEventId });
  let connection = await open();
  let left = false;
  const staying = (async () => {
    for (;;) {
      await until('the end of a stream', () => left || reading.ended);
      await connection.close();
      if (left) return;
      connection = await open();
    }
  })();
  const close = () => {
    left = true;
    return staying;
  };
  return { reading: () => reading, close };
}

for (const client of [eventSource4, fetchEventSourceClient, httpxSse]) {
  for (const one of CASES) {
    test(`${client.name} under ${pathOf(one)} hears of what it lost`, () =>
      slowForAWhile({
        app,
        origin: sidestream.plain,
        one,
        isEventSource: client === eventSource4,
        open: (url) => follow(client, url),
      }));
  }
}
