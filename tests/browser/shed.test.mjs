// At the cap: an EventSource that is turned away comes back by itself.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { until } from '../node/wait.mjs';
import { withProfile } from './lib/browser.mjs';
import { startRun } from './lib/sidestream.mjs';

/** An app with a blank page, and a stream that ticks. */
function app() {
  const server = createServer((request, response) => {
    if (request.url !== '/ticks') {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>app</title>');
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    let n = 0;
    const timer = setInterval(() => response.write(`data: ${n += 1}\n\n`), 100);
    response.on('close', () => clearInterval(timer));
  });
  return new Promise((resolve) => { server.listen(0, '127.0.0.1', () => resolve(server)); });
}

test('cap reached: the one too many is turned away without an end of its tries, and is in once another left', async () => {
  const server = await app();
  const sidestream = await startRun(`http://127.0.0.1:${server.address().port}`, [
    'limits: { subscribers_max: 3 }',
    'routes:',
    '  - { path: /ticks, action: fanout }',
    '  - { path: "/{*rest}", action: proxy }',
    '  - { path: /, action: proxy }',
  ].join('\n'));
  try {
    await withProfile(async (profile) => {
      const page = await profile.newPage();
      await page.goto(`${sidestream.origin}/`);
      const open = () => page.evaluate(() => {
        const source = new EventSource('/ticks');
        const seen = { source, events: 0, errors: 0 };
        source.onmessage = () => { seen.events += 1; };
        source.onerror = () => { seen.errors += 1; };
        (globalThis.readers ??= []).push(seen);
      });
      const readers = () => page.evaluate(() => globalThis.readers.map(
        ({ source, events, errors }) => ({ state: source.readyState, events, errors }),
      ));
      for (let i = 0; i < 3; i += 1) await open();
      await until('three readers with events', async () => (await readers()).every((reader) => reader.events > 0));

      await open();
      await until('the fourth to be turned away', async () => (await readers())[3].errors > 0);
      const [, , , shed] = await readers();
      assert.deepEqual([shed.state, shed.events], [0, 0], 'connecting again, not closed for good');

      await page.evaluate(() => globalThis.readers[0].source.close());
      await until('the fourth to receive', async () => (await readers())[3].events > 0);
      const all = await readers();
      assert.deepEqual(all.slice(1).map((reader) => reader.state), [1, 1, 1]);
      assert.equal(all[1].errors + all[2].errors, 0, 'those inside were not disturbed');
    });
  } finally {
    await sidestream.stop();
    server.closeAllConnections();
    server.close();
  }
});
