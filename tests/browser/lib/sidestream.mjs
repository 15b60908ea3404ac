// Sidestream as a child process: the demo, or `run` with a configuration of a test's own.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { until } from './wait.mjs';

const BINARY = process.env.SIDESTREAM_BIN ?? new URL('../../../target/debug/sidestream', import.meta.url).pathname;
const OUTPUT_MAX = 100_000;
const running = new Set();

// A test that fails half way must not leave processes behind.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

class Process {
  output = '';
  exit = null;

  constructor(args) {
    this.child = spawn(BINARY, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this.child);
    const keep = (bytes) => { this.output = (this.output + bytes).slice(-OUTPUT_MAX); };
    this.child.stdout.on('data', keep);
    this.child.stderr.on('data', keep);
    this.child.on('error', (error) => { this.exit = String(error); });
    this.child.on('close', (code, signal) => {
      this.exit ??= signal ?? `code ${code}`;
      running.delete(this.child);
    });
  }

  get pid() {
    return this.child.pid;
  }

  /** Waits for a condition that can only come true while the process lives. */
  async until(what, condition) {
    return until(() => `${what}; output:\n${this.output}`, async () => {
      if (this.exit) throw new Error(`sidestream ended (${this.exit}) before ${what}; output:\n${this.output}`);
      return condition();
    });
  }

  async stop() {
    this.child.kill('SIGINT');
    // Not every test closes its readers first: a drain that waits for them is cut short.
    const patience = setTimeout(() => this.child.kill('SIGKILL'), 3_000);
    await until('sidestream to end', () => this.exit);
    clearTimeout(patience);
  }
}

/** Starts `sidestream demo` and resolves once it printed its addresses. */
export async function startDemo(...args) {
  const demo = new Process(['demo', ...args]);
  const addresses = /HTTP\/1\.1 +(http:\/\/[^/ ]+)[^]*HTTP\/2 +(https:\/\/[^/ ]+)[^]*counters +(http:\/\/[^/ ]+)/;
  const [, plain, secure, control] = await demo.until('the addresses', () => demo.output.match(addresses));
  const state = async () => (await fetch(`${control}/__sidestream/api/state`)).json();
  return Object.assign(demo, { plain, secure, control, state });
}

/** Starts `sidestream run` on one plain listener in front of `app`, with further YAML. */
export async function startRun(app, more) {
  const directory = await mkdtemp(join(tmpdir(), 'sidestream-browser-'));
  const [port, admin] = [await freePort(), await freePort()];
  const config = join(directory, 'sidestream.yaml');
  await writeFile(config, [
    'version: 1',
    `listeners: [{ address: "127.0.0.1:${port}" }]`,
    `admin: { address: "127.0.0.1:${admin}" }`,
    `upstreams: { app: "${app}" }`,
    'drain: { listen_min: 0 }',
    more,
  ].join('\n'));
  const run = new Process(['run', '--config', config]);
  const ready = () => fetch(`http://127.0.0.1:${admin}/readyz`).then((answer) => answer.ok, () => false);
  await run.until('readiness', ready);
  const stop = run.stop.bind(run);
  return Object.assign(run, {
    origin: `http://127.0.0.1:${port}`,
    stop: async () => { await stop(); await rm(directory, { recursive: true }); },
  });
}

/** A port that nobody has right now. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await until('a port', () => server.listening, { everyMs: 1 });
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
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
