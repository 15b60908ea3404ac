// The sidestream binary under test: one process with its own configuration, ports and certificate.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { onFreePorts } from '../../node/ports.mjs';
import { runSidestream } from '../../node/sidestream.mjs';

/** A certificate for localhost, made at the start of each process. */
function makeCertificate(directory) {
  const [certificate, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
  const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const files = ['-keyout', key, '-out', certificate];
  const options = ['-x509', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-addext', names];
  execFileSync('openssl', ['req', ...curve, ...options, ...files], { stdio: 'pipe' });
  return { certificate, key };
}

export class Sidestream {
  /**
   * Starts it. `config` is the file as an object, without listeners and admin: those are added on
   * free ports. JSON is YAML.
   */
  static async start(config) {
    const sidestream = new Sidestream();
    sidestream.directory = mkdtempSync(join(tmpdir(), 'sidestream-real-'));
    sidestream.configFile = join(sidestream.directory, 'sidestream.yaml');
    sidestream.tls = makeCertificate(sidestream.directory);
    sidestream.config = config;
    await onFreePorts(3, (ports) => {
      sidestream.ports = ports;
      sidestream.writeConfig(config);
      return sidestream.spawn();
    });
    return sidestream;
  }

  get plain() {
    return `http://127.0.0.1:${this.ports[0]}`;
  }

  get secure() {
    return `https://localhost:${this.ports[1]}`;
  }

  get admin() {
    return `http://127.0.0.1:${this.ports[2]}`;
  }

  /** PEM file that clients of `secure` trust. */
  get ca() {
    return this.tls.certificate;
  }

  /** The whole configuration file for `config`. */
  fileFor(config) {
    const [plain, secure, admin] = this.ports.map((port) => `127.0.0.1:${port}`);
    const listeners = [
      { name: 'plain', address: plain },
      { name: 'secure', address: secure, tls: this.tls },
    ];
    return JSON.stringify({ version: 1, listeners, admin: { address: admin }, ...config }, null, 2);
  }

  writeConfig(config) {
    this.writeConfigText(this.fileFor(config));
  }

  /** Replaces the file in one step, as an editor or a mounted volume does. */
  writeConfigText(text) {
    const next = `${this.configFile}.next`;
    writeFileSync(next, text);
    renameSync(next, this.configFile);
  }

  /** Starts the process (again), on the same ports and file. */
  async spawn() {
    this.child = await runSidestream(this.configFile);
  }

  /** Everything it has logged, as text. */
  get log() {
    return this.child.output;
  }

  /** The value of a metric, given as it is printed, labels included; undefined when there is none. */
  async metric(name) {
    const text = await (await fetch(`${this.admin}/metrics`)).text();
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.slice(name.length + 1));
  }

  async channels() {
    return (await fetch(`${this.admin}/channels`)).json();
  }

  /** Ends it and removes its files; it must leave in good order. */
  async stop() {
    try {
      await this.child.end();
    } finally {
      rmSync(this.directory, { recursive: true, force: true });
    }
  }
}

/** Settings that keep tests short: quick reconnects of both sides, a quick way out. */
export const QUICK = {
  drain: { window: '200ms', margin: '2s' },
  defaults: {
    retry: { min: '100ms', max: '200ms' },
    backoff: { min: '50ms', max: '200ms' },
  },
};

/** A configuration with one app, a shared /feed, and everything else passed through. */
export function configFor(app, { feed = {}, routes = [], ...rest } = {}) {
  const shared = { name: 'feed', path: '/feed', action: 'fanout', share: 'public', ...feed };
  const others = { name: 'others', path: '/{*rest}', action: 'proxy' };
  return { ...QUICK, upstreams: { app: app.url }, routes: [shared, ...routes, others], ...rest };
}
