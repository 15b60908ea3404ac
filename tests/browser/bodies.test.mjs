// One page with streams of events and large bodies at the same time: over HTTP/2 they share a
// connection, and its windows.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { until } from '../node/wait.mjs';
import { withProfile } from './lib/browser.mjs';
import { connectionsAt, startDemo } from './lib/sidestream.mjs';

const STREAMS = 20;
/** More than a browser, the kernel and we take of a body that nobody reads. */
const LARGE = Buffer.alloc(64 << 20, Buffer.from(Array.from({ length: 251 }, (_, at) => at)));
const SMALL = LARGE.subarray(0, 4 << 20);

/** Bytes of any stream remind a browser to grant more; before a heartbeat there are none. */
const HEARTBEAT_MS = 15_000;

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

let server;
let demo;
/** The app's answer to the one request for events. */
let feed;
let sent = 0;
let isLargeSent = false;

before(async () => {
  server = createServer((request, response) => {
    if (request.url === '/feed/stream') {
      feed = response.writeHead(200, { 'content-type': 'text/event-stream' });
      feed.flushHeaders();
    } else if (request.url === '/large') {
      // What may be kept, the browser reads for its cache, although the page does not.
      response.setHeader('cache-control', 'no-store');
      response.end(LARGE, () => { isLargeSent = true; });
    } else if (request.url.startsWith('/small/')) {
      response.end(SMALL);
    } else {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>app</title>');
    }
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  demo = await startDemo('--upstream', `http://127.0.0.1:${server.address().port}`);
});

after(async () => {
  await demo?.stop();
  server.closeAllConnections();
  server.close();
});

/** Sends so many events, and waits until each EventSource of the page has them all, in order. */
async function send(page, count) {
  for (const end = sent + count; sent < end; sent += 1) feed.write(`data: ${sent}\n\n`);
  const numbers = Array.from({ length: sent }, (_, n) => `${n}`);
  const haveAll = () => page.evaluate(
    (wanted) => window.seen.every((events) => events.length >= wanted), numbers.length,
  );
  await until(`${sent} events on each stream`, haveAll);
  for (const events of await page.evaluate(() => window.seen)) assert.deepEqual(events, numbers);
}

test('20 EventSources go on beside a body that nobody reads, and so do other bodies', () => withProfile(async (profile) => {
  const page = await profile.newPage();
  await page.goto(demo.secure);
  await page.evaluate((count) => {
    window.sources = Array.from({ length: count }, () => new EventSource('/feed/stream'));
    window.seen = window.sources.map((source) => {
      const events = [];
      source.onmessage = ({ data }) => events.push(data);
      return events;
    });
    window.digest = async (response) => {
      const hash = await crypto.subtle.digest('SHA-256', await response.arrayBuffer());
      return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
    };
  }, STREAMS);
  const areOpen = () => page.evaluate(() => window.sources.every(({ readyState }) => readyState === 1));
  await until('all streams are open', areOpen);
  await send(page, 100);

  await page.evaluate(async () => { window.large = await fetch('/large'); });
  await send(page, 100);
  const begun = performance.now();
  const small = await page.evaluate(async () => {
    const hashes = [];
    for (let n = 0; n < 8; n += 1) hashes.push(await window.digest(await fetch(`/small/${n}`)));
    return hashes;
  });
  assert.deepEqual(small, Array(8).fill(sha256(SMALL)));
  assert.ok(performance.now() - begun < HEARTBEAT_MS, 'they waited for a heartbeat');
  await send(page, 100);
  assert.equal(isLargeSent, false, 'the large body waits');

  const large = page.evaluate(() => window.digest(window.large));
  await send(page, 100);
  assert.equal(await large, sha256(LARGE));

  const protocols = await page.evaluate(
    () => performance.getEntriesByType('resource').map(({ nextHopProtocol }) => nextHopProtocol),
  );
  assert.deepEqual([...new Set(protocols)], ['h2']);
  await until('one TCP connection', async () => (await connectionsAt(demo.secure)) === 1);
}));
