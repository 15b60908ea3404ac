// Sidestream as a child process: the demo, or `run` with a configuration of a test's own.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { onFreePorts } from '../../node/ports.mjs';
import { runSidestream, spawnSidestream } from '../../node/sidestream.mjs';

/** Starts `sidestream demo` and resolves once it printed its addresses. */
export async function startDemo(...args) {
  const demo = spawnSidestream('demo', ...args);
  const addresses = /HTTP\/1\.1 +(http:\/\/[^/ ]+)[^]*HTTP\/2 +(https:\/\/[^/ ]+)[^]*counters +(http:\/\/[^/ ]+)/;
  const [, plain, secure, control] = await demo.untilReady(() => demo.output.match(addresses));
  const state = async () => (await fetch(`${control}/__sidestream/api/state`)).json();
  return { plain, secure, control, state, stop: () => demo.end('SIGINT') };
}

/** Starts `sidestream run` on one plain listener in front of `app`, with further YAML. */
export async function startRun(app, more) {
  const directory = await mkdtemp(join(tmpdir(), 'sidestream-browser-'));
  const config = join(directory, 'sidestream.yaml');
  return onFreePorts(2, async ([port, admin]) => {
    await writeFile(config, [
      'version: 1',
      `listeners: [{ address: "127.0.0.1:${port}" }]`,
      `admin: { address: "127.0.0.1:${admin}" }`,
      `upstreams: { app: "${app}" }`,
      'drain: { window: 200ms, margin: 2s, listen_min: 0 }',
      more,
    ].join('\n'));
    const run = await runSidestream(config);
    const stop = async () => {
      try {
        await run.end('SIGINT');
      } finally {
        await rm(directory, { recursive: true });
      }
    };
    return { origin: `http://127.0.0.1:${port}`, stop };
  });
}

/** Established connections that the kernel has at a local port of 127.0.0.1, on the server's side. */
export async function connectionsAt(origin) {
  const port = Number(new URL(origin).port).toString(16).toUpperCase().padStart(4, '0');
  const ESTABLISHED = '01';
  const lines = (await readFile('/proc/net/tcp', 'utf8')).split('\n').slice(1);
  return lines.filter((line) => {
    const [, local, , state] = line.trim().split(/\s+/);
    return local === `0100007F:${port}` && state === ESTABLISHED;
  }).length;
}
