// Chromium on a slow link: what its EventSource loses is announced in a form that it survives.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { CASES, NumberingApp, SECTIONS, pathOf, slowForAWhile } from '../node/slow_reader.mjs';
import { Reading } from '../node/sse.mjs';
import { withProfile } from './lib/browser.mjs';
import { startRun } from './lib/sidestream.mjs';

let app;
let sidestream;

before(async () => {
  app = await NumberingApp.start();
  const sections = Object.entries(SECTIONS).map(([name, section]) => `${name}: ${JSON.stringify(section)}`);
  sidestream = await startRun(app.url, sections.join('\n'));
});

after(async () => {
  await sidestream?.stop();
  app?.stop();
});

/** An EventSource of a page of the same origin. */
async function openPage(profile, url) {
  const page = await profile.newPage();
  await page.goto(new URL('/page', url).href);
  await page.evaluate((stream) => new Promise((resolve) => {
    globalThis.seen = [];
    const source = new EventSource(stream);
    const listener = ({ type, lastEventId, data }) => globalThis.seen.push({ id: lastEventId, type, data });
    for (const type of ['message', 'sidestream-gap']) source.addEventListener(type, listener);
    source.onopen = resolve;
  }), url);
  const reading = async () => {
    const seen = new Reading();
    (await page.evaluate(() => globalThis.seen)).forEach((event) => seen.event(event));
    return seen;
  };
  return { reading, close: () => page.close() };
}

for (const one of CASES) {
  test(`EventSource under ${pathOf(one)} hears of what it lost`, () => withProfile(async (profile) => {
    const open = (url) => openPage(profile, url);
    await slowForAWhile({ app, origin: sidestream.origin, one, isEventSource: true, open });
    if (one.policy === 'disconnect') {
      // A stream that is cut off stands in the console, and only that may.
      const isCut = (text) => text.includes('ERR_INCOMPLETE_CHUNKED_ENCODING');
      assert.ok(profile.complaints.every(isCut), profile.complaints);
      profile.complaints = [];
    }
  }));
}
