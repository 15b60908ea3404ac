// `demo --upstream`: the page in front of an app that it does not know.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { receiving, screenshot, shows, withProfile } from './lib/browser.mjs';
import { startDemo } from './lib/sidestream.mjs';

test('an own app keeps its paths, the page has its own, and its streams fan out', async () => {
  let streams = 0;
  const server = createServer((request, response) => {
    if (!request.url.endsWith('/stream')) {
      response.end('my own app');
      return;
    }
    streams += 1;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    let n = 0;
    const timer = setInterval(() => response.write(`id: ${n += 1}\ndata: tick\n\n`), 200);
    response.on('close', () => { clearInterval(timer); streams -= 1; });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const demo = await startDemo('--upstream', `http://127.0.0.1:${server.address().port}`);
  try {
    await withProfile(async (profile) => {
      const page = await profile.newPage();
      await page.goto(`${demo.secure}/`);
      assert.equal(await page.locator('body').textContent(), 'my own app');

      await page.goto(`${demo.secure}/__sidestream/`);
      assert.equal(await page.locator('#restart').isVisible(), false, 'nothing here may restart it');
      assert.equal(await page.locator('#path').inputValue(), '/xxx/stream');
      await page.fill('#count', '12');
      await page.click('#connect');
      await receiving(page, 12, 3);
      await shows(page, '#figure-clients', 12);
      await shows(page, '#figure-upstream', 1);
      assert.equal(streams, 1, 'the app counts one connection');
      await screenshot(page, 'own-app');
    });
  } finally {
    await demo.stop();
    server.closeAllConnections();
    server.close();
  }
});
