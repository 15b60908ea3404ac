// Chromium, one fresh profile for each test: its tabs share sockets, as a user's do.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { until } from '../../node/wait.mjs';

const RESULTS = fileURLToPath(new URL('../results/', import.meta.url));
const FIND_CHROMIUM = fileURLToPath(new URL('../../../scripts/find-chromium.sh', import.meta.url));
const ARGUMENTS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

/** What CHROMIUM names, else what has one of the usual names; the script's complaint ends up in the error. */
const findChromium = () => execFileSync(FIND_CHROMIUM, { encoding: 'utf8', stdio: 'pipe' }).trim();

/** The profile's context. What goes wrong in any of its pages is kept in `complaints`. */
async function openProfile(options = {}) {
  const profile = await chromium.launchPersistentContext('', {
    executablePath: findChromium(),
    args: ARGUMENTS,
    ignoreHTTPSErrors: true,
    viewport: { width: 1360, height: 900 },
    ...options,
  });
  profile.complaints = [];
  profile.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) profile.complaints.push(message.text());
  });
  profile.on('weberror', (error) => profile.complaints.push(String(error.error())));
  return profile;
}

/** Runs `work` with a profile, whose pages are to have nothing to complain about. */
export async function withProfile(work, options) {
  const profile = await openProfile(options);
  try {
    await work(profile);
    assert.deepEqual(profile.complaints, [], 'the console is silent');
  } finally {
    await profile.close();
  }
}

export async function screenshot(page, name) {
  await mkdir(RESULTS, { recursive: true });
  await page.screenshot({ path: `${RESULTS}${name}.png`, fullPage: true });
}

/** The text of an element, which the page keeps current. */
export const text = (page, selector) => page.locator(selector).textContent();

/** Waits until an element shows exactly `wanted`. */
export async function shows(page, selector, wanted) {
  let last = '';
  await until(
    () => `${selector} to show ${wanted}; it shows ${last}`,
    async () => { last = await text(page, selector); return last === String(wanted); },
  );
}

/** Waits until each of the page's `count` EventSources is open and has `events` events or more. */
export async function receiving(page, count, events = 1) {
  await until(
    async () => `${count} tiles with ${events} events; open are ${await text(page, '#count-open')}`,
    () => page.evaluate(([wanted, least]) => {
      const tiles = [...document.querySelectorAll('#tiles [data-state="open"]')];
      return tiles.length === wanted
        && tiles.every((tile) => Number(tile.querySelector('.events').textContent) >= least);
    }, [count, events]),
  );
}

/** The state of each tile, in order. */
export const tileStates = (page) => page.locator('#tiles li').evaluateAll(
  (tiles) => tiles.map((tile) => tile.dataset.state),
);
