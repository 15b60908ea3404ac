// The end of a pod with a native sidecar, in the order in which Kubernetes plays it: all preStop hooks
// at once, SIGTERM to the app after its own, SIGTERM to the sidecar when the app has ended.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { watchLateness } from '../node/lateness.mjs';
import { pause, until } from '../node/wait.mjs';
import { Client } from './client.mjs';
import { Pod } from './pod.mjs';

const CLIENTS = 100;
const WINDOW_S = 4;
const MARGIN_S = 1;
const CONFIG = {
  defaults: { retry: { min: '100ms', max: '500ms' } },
  drain: { window: `${WINDOW_S}s`, margin: `${MARGIN_S}s`, listen_min: '1s' },
};
/** A share of the window: the grain of the clocks. */
const UNEVEN_MAX = 0.2;

const started = [];
const clients = [];
after(async () => {
  await Promise.all(clients.map((client) => client.close()));
  for (const pod of started) await pod.stop();
});

async function startPod() {
  const pod = await Pod.start(started.length + 1, CONFIG);
  started.push(pod);
  return pod;
}

/** The largest distance between the share that has left and the share of the window that has passed. */
function unevenness(seconds) {
  const sorted = seconds.toSorted((a, b) => a - b);
  const distances = sorted.map((second, n) => {
    const passed = second / WINDOW_S;
    return Math.max(Math.abs(passed - n / sorted.length), Math.abs(passed - (n + 1) / sorted.length));
  });
  return Math.max(...distances);
}

test('the clients of a pod that goes move to another, and nobody sees an error', async () => {
  const [old, next] = [await startPod(), await startPod()];
  let endpoint = old;
  for (let n = 0; n < CLIENTS; n += 1) clients.push(new Client(() => endpoint));
  await until('all clients to read', () => clients.every(({ events }) => events.length > 0));

  // The pod is told to end: it leaves the Service, and the hooks start.
  endpoint = next;
  const began = performance.now();
  old.exec('drain');
  const hook = performance.now() - began;
  assert.ok(hook < (WINDOW_S * 1_000) / 2, `the hook returns at once, not after ${hook} ms`);
  const late = watchLateness();
  assert.ok(!old.isReady());
  const appSleeps = pause((WINDOW_S + MARGIN_S) * 1_000);

  // A request on its way to the old pod is served until the app goes.
  const passed = [];
  let sleeping = true;
  appSleeps.then(() => (sleeping = false));
  while (sleeping) {
    passed.push((await fetch(old.url)).status);
    await pause(100);
  }
  assert.ok(passed.length > 10 && passed.every((status) => status === 200), `${passed}`);
  assert.equal(old.sidecar.exit, null, 'a sidecar that ends now would be started anew');
  assert.equal(old.app.exit, null);

  // The app's hook is over.
  const lefts = clients.map(({ left }) => left.filter(({ pod }) => pod === old));
  assert.ok(lefts.every((left) => left.length === 1), 'all have left while the app was there');
  const uneven = unevenness(lefts.map(([{ at }]) => (at - began) / 1_000));
  const unevenMax = UNEVEN_MAX + late() / (WINDOW_S * 1_000);
  assert.ok(uneven < unevenMax, `${uneven} of ${unevenMax} of the window off an even slope`);
  await old.app.end('SIGTERM', { timeoutMs: 5_000 });
  await old.sidecar.end('SIGTERM', { timeoutMs: 5_000 });

  await until('all clients to read from the other pod', () =>
    clients.every(({ opened }) => opened.at(-1).pod === next));
  assert.deepEqual(clients.flatMap(({ errors }) => errors), []);
  assert.ok(clients.every(({ opened }) => opened.length === 2), 'each of them came back once');
});
