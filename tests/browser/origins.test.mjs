// A page of another origin reads a stream, with its cookies, because the route says that it may.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { until } from '../node/wait.mjs';
import { withProfile } from './lib/browser.mjs';
import { startRun } from './lib/sidestream.mjs';

/** An app that knows nothing of CORS: a page, which logs in, and a stream that ticks. */
async function startApp() {
  const streams = [];
  const server = createServer((request, response) => {
    if (request.url !== '/ticks') {
      const headers = { 'content-type': 'text/html', 'set-cookie': 'session=a' };
      response.writeHead(200, headers).end('<!doctype html><title>app</title>');
      return;
    }
    streams.push({ method: request.method, cookie: request.headers.cookie });
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    let n = 0;
    const timer = setInterval(() => response.write(`data: ${n += 1}\n\n`), 100);
    response.on('close', () => clearInterval(timer));
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const stop = () => { server.closeAllConnections(); server.close(); };
  return { origin: `http://127.0.0.1:${server.address().port}`, streams, stop };
}

test('EventSource and fetch of a listed origin read one stream, cookies and all', async () => {
  const app = await startApp();
  const sidestream = await startRun(app.origin, [
    'routes:',
    '  - path: /ticks',
    '    action: fanout',
    '    identity: { cookies: [session] }',
    `    cors: { origins: ["${app.origin}"], credentials: true }`,
  ].join('\n'));
  try {
    await withProfile(async (profile) => {
      const page = await profile.newPage();
      // Another port is another origin, and the same host for cookies.
      await page.goto(`${app.origin}/`);
      await page.evaluate((url) => {
        globalThis.seen = { source: 0, fetch: 0 };
        const source = new EventSource(url, { withCredentials: true });
        source.onmessage = () => { globalThis.seen.source += 1; };
        // A header of the page's own, so that the browser asks first.
        const headers = { 'last-event-id': 'x' };
        fetch(url, { credentials: 'include', headers }).then(async ({ body }) => {
          for (const reader = body.getReader(); !(await reader.read()).done;) {
            globalThis.seen.fetch += 1;
          }
        });
      }, `${sidestream.origin}/ticks`);
      await until('events by both', async () => {
        const { source, fetch } = await page.evaluate(() => globalThis.seen);
        return source > 2 && fetch > 2;
      });
      assert.deepEqual(app.streams, [{ method: 'GET', cookie: 'session=a' }]);
    });
  } finally {
    await sidestream.stop();
    app.stop();
  }
});
