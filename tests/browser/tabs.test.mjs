// Many tabs of one profile on one HTTPS origin: what HTTP/1.1 cannot do.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { until } from '../node/wait.mjs';
import { receiving, shows, withProfile } from './lib/browser.mjs';
import { connectionsAt, startDemo } from './lib/sidestream.mjs';

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

async function openTabs(profile, tabs, streams) {
  const pages = [];
  for (let i = 0; i < tabs; i += 1) {
    const page = await profile.newPage();
    await page.goto(`${demo.secure}/?n=${streams}&connect=1`);
    pages.push(page);
  }
  await Promise.all(pages.map((page) => receiving(page, streams, 2)));
  return pages;
}

test('3 tabs with 20 EventSources each: 60 open, all receive, the app has one connection', () => withProfile(async (profile) => {
  const pages = await openTabs(profile, 3, 20);
  const state = await demo.state();
  assert.equal(state.subscribers, 60);
  assert.equal(state.app.connections, 1);
  await shows(pages[2], '#figure-clients', 60);
}));

test('12 tabs with 10 EventSources each and a fetch beside them, on one TCP connection', () => withProfile(async (profile) => {
  const pages = await openTabs(profile, 12, 10);
  assert.equal((await demo.state()).subscribers, 120);
  const answer = await pages[0].evaluate(async () => {
    const response = await fetch('/__sidestream/api/config');
    return { ok: response.ok, text: await response.text(), url: response.url };
  });
  assert.equal(answer.ok, true);
  assert.match(answer.text, /^version: 1/);
  const protocol = () => pages[0].evaluate(
    (url) => performance.getEntriesByName(url).at(-1)?.nextHopProtocol, answer.url,
  );
  assert.equal(await until('the timing of the fetch', protocol), 'h2');
  // A browser may open a spare connection while it loads the first page; it is gone with time,
  // the one with the streams stays.
  await until('one TCP connection', async () => (await connectionsAt(demo.secure)) === 1);
  assert.equal((await demo.state()).subscribers, 120);
}));
