// The demo page on both of its origins.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { until } from '../node/wait.mjs';
import { receiving, screenshot, shows, text, tileStates, withProfile } from './lib/browser.mjs';
import { startDemo } from './lib/sidestream.mjs';

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

const logLine = (page, kind, words) => until(
  `a log line ${kind} with ${words}`,
  () => page.locator(`#log [data-kind="${kind}"]`).evaluateAll(
    (lines, wanted) => lines.some((line) => line.textContent.includes(wanted)), words,
  ),
);

for (const [origin, protocol, open] of [['plain', 'HTTP/1.1', 6], ['secure', 'HTTP/2', 7]]) {
  test(`the ${origin} origin speaks ${protocol} and opens ${open} of 7 streams`, () => withProfile(async (profile) => {
    const page = await profile.newPage();
    const fromControl = page.waitForResponse((answer) => answer.url() === `${demo.control}/__sidestream/api/state`);
    await page.goto(`${demo[origin]}/`);
    assert.equal((await fromControl).status(), 200, 'the numbers come from the control port');
    await shows(page, '#protocol', protocol);
    assert.equal(await page.locator('#stuck').isVisible(), false);

    await page.click('#connect');
    await shows(page, '#count-open', open);
    await shows(page, '#count-pending', 7 - open);
    await receiving(page, open, 2);
    await shows(page, '#figure-clients', open);
    await shows(page, '#figure-upstream', 1);
    assert.equal(await page.locator('#stuck').isVisible(), open < 7);
    const other = origin === 'plain' ? 'secure' : 'plain';
    const link = await page.locator(`#origin-${other}`).getAttribute('href');
    assert.equal(new URL(link).origin, demo[other], 'the page links to the other origin');

    await page.click('#disconnect');
    await shows(page, '#count-open', 0);
    await shows(page, '#figure-clients', 0);
  }));
}

test('over HTTP/1.1 the seventh EventSource stays pending until one of the six leaves', () => withProfile(async (profile) => {
  const page = await profile.newPage();
  await page.goto(`${demo.plain}/?n=7&connect=1`);
  // Two events on each of the six: the seventh had all that time, and is not even connected.
  await receiving(page, 6, 2);
  assert.deepEqual(await tileStates(page), [...Array(6).fill('open'), 'pending']);
  assert.equal((await demo.state()).subscribers, 6);

  // It would load at once. A slow machine makes this pass for another reason, never fail.
  const another = await profile.newPage();
  const refused = another.goto(`${demo.plain}/`, { timeout: 3_000 }).then(() => 'loaded', () => 'waits');
  assert.equal(await refused, 'waits', 'not even the page loads in another tab');
  await another.close();

  await page.click('#less');
  await page.click('#less');
  await shows(page, '#count-open', 5);
  await page.click('#more');
  await shows(page, '#count-open', 6);
}));

test('one more and one less act at once, presets choose a number', () => withProfile(async (profile) => {
  const page = await profile.newPage();
  await page.goto(`${demo.secure}/`);
  await page.click('#presets button:has-text("20")');
  await receiving(page, 20);
  await page.click('#more');
  await shows(page, '#count-open', 21);
  await page.click('#less');
  await page.click('#less');
  await shows(page, '#count-open', 19);
  await page.locator('label:has-text("Ticker")').click();
  await page.click('#connect');
  await receiving(page, 19, 3);
  await logLine(page, 'event', '×19');
}));

test('the chat: twenty readers hold the same answer, which the app wrote once', () => withProfile(async (profile) => {
  const page = await profile.newPage();
  const before = (await demo.state()).app.streams.find((stream) => stream.path === '/demo/chat').opened;
  await page.goto(`${demo.secure}/?stream=/demo/chat&n=20&connect=1&prompt=Who%20pays%3F`);
  await logLine(page, 'note', '20 of 20 readers hold the same answer');
  assert.match(await text(page, '#answer'), /^You asked: “Who pays\?”.*the app counts one\.$/);
  assert.deepEqual([...new Set(await tileStates(page))], ['done']);
  const after = (await demo.state()).app.streams.find((stream) => stream.path === '/demo/chat').opened;
  assert.equal(after - before, 1);
}));

test('the app restarts under 20 clients: none is cut, the gap is told, events go on', () => withProfile(async (profile) => {
  const page = await profile.newPage();
  await page.goto(`${demo.secure}/?n=20&connect=1`);
  await receiving(page, 20, 1);
  await page.locator('#pause').fill('1');
  await page.click('#restart-button');
  await until('the result', async () => (await text(page, '#restart-result')).includes('was away'));
  assert.equal(
    await text(page, '#restart-result'),
    'The app was away for 1 s. 20 of 20 streams stayed open (no onerror), and each was told where events may be missing.',
  );
  await logLine(page, 'gap', '×20');
  assert.equal(await page.locator('#log [data-kind="error"]').count(), 0);
  const events = Number(await text(page, '#tiles li:first-child .events'));
  await receiving(page, 20, events + 1);
  await screenshot(page, 'restarted');
}));

test('a tab knows the streams of the other tabs', () => withProfile(async (profile) => {
  const page = await profile.newPage();
  await page.goto(`${demo.secure}/?n=4&connect=1`);
  await receiving(page, 4);
  const [second] = await Promise.all([profile.waitForEvent('page'), page.click('#another-tab')]);
  await second.waitForURL(/connect=1/);
  await receiving(second, 4);
  await shows(second, '#count-tabs', 2);
  await shows(second, '#tabs-label', 'tabs, 8 streams');
}));

for (const colorScheme of ['light', 'dark']) {
  for (const [width, viewport] of [['wide', { width: 1360, height: 900 }], ['narrow', { width: 390, height: 844 }]]) {
    test(`screenshots: ${colorScheme}, ${width}`, () => withProfile(async (profile) => {
      for (const [origin, count, open] of [['plain', 9, 6], ['secure', 60, 60]]) {
        // The channels of the pages before linger; without them the picture shows this page alone.
        await until('no channel', async () => (await demo.state()).channels === 0);
        const page = await profile.newPage();
        await page.goto(`${demo[origin]}/?n=${count}&connect=1`);
        await receiving(page, open, 2);
        await shows(page, '#figure-clients', open);
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wider <= 0, `no sideways scrolling, but ${wider} px too wide`);
        await screenshot(page, `${origin}-${colorScheme}-${width}`);
        await page.close();
      }
    }, { colorScheme, viewport }));
  }
}
