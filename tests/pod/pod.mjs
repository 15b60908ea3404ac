// A pod: a network namespace with an app and Sidestream as its sidecar, reached over a veth pair from
// the namespace that the test runs in.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Child } from '../node/child.mjs';

const SIDESTREAM =
  process.env.SIDESTREAM_BIN ?? fileURLToPath(new URL('../../target/debug/sidestream', import.meta.url));
const APP = fileURLToPath(new URL('app.mjs', import.meta.url));
const PORT = 8080;

const run = (command, ...args) => execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe' });

export class Pod {
  /** `number` makes names and addresses; `config` is what the configuration says beside the usual. */
  static async start(number, config) {
    const pod = new Pod(number);
    await pod.#network();
    pod.app = pod.#spawn('app', process.execPath, [APP]);
    await pod.app.untilReady(() => pod.app.output.includes('listening'));
    pod.file = join(pod.folder, 'sidestream.yaml');
    writeFileSync(pod.file, JSON.stringify({
      version: 1,
      listeners: [{ name: 'http', address: `0.0.0.0:${PORT}` }],
      upstreams: { app: 'http://127.0.0.1:3000' },
      routes: [
        { path: '/feed', action: 'fanout' },
        { path: '/{*rest}', action: 'proxy' },
      ],
      threads: 2,
      ...config,
    }));
    pod.sidecar = pod.#spawn('sidestream', SIDESTREAM, ['run', '--config', pod.file]);
    await pod.sidecar.untilReady(() => pod.isReady());
    return pod;
  }

  constructor(number) {
    this.folder = mkdtempSync(join(tmpdir(), 'sidestream-pod-'));
    this.link = `pod${number}`;
    this.outside = `10.77.${number}.1`;
    this.address = `10.77.${number}.2`;
  }

  get url() {
    return `http://${this.address}:${PORT}`;
  }

  async #network() {
    this.holder = new Child('namespace', 'unshare', ['--net', 'sh', '-c', 'echo made; exec sleep infinity']);
    await this.holder.untilReady(() => this.holder.output.includes('made'));
    run('ip', 'link', 'add', this.link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', `${this.holder.pid}`);
    run('ip', 'address', 'add', `${this.outside}/24`, 'dev', this.link);
    run('ip', 'link', 'set', this.link, 'up');
    this.#inside('ip', 'link', 'set', 'lo', 'up');
    this.#inside('ip', 'address', 'add', `${this.address}/24`, 'dev', 'eth0');
    this.#inside('ip', 'link', 'set', 'eth0', 'up');
  }

  #enter(command, args) {
    return [`--target=${this.holder.pid}`, '--net', '--', command, ...args];
  }

  #inside(command, ...args) {
    return run('nsenter', ...this.#enter(command, args));
  }

  #spawn(name, command, args) {
    return new Child(`${name} of ${this.link}`, 'nsenter', this.#enter(command, args));
  }

  /** Runs a command of the sidecar's image, as a probe or a hook does. */
  exec(...args) {
    return this.#inside(SIDESTREAM, ...args, '--config', this.file);
  }

  isReady() {
    try {
      this.exec('healthcheck', 'ready');
      return true;
    } catch {
      return false;
    }
  }

  async stop() {
    for (const child of [this.app, this.sidecar, this.holder]) await child?.stop('SIGKILL');
    rmSync(this.folder, { recursive: true });
  }
}
