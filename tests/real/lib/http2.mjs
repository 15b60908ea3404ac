// An app on node:http2: event streams that stay open, and bodies that come back.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A certificate that nobody knows. */
function certificate() {
  const directory = mkdtempSync(join(tmpdir(), 'sidestream-app-'));
  const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
  const made = ['-x509', '-nodes', '-days', '2', '-subj', '/CN=localhost'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  try {
    execFileSync('openssl', ['req', ...made, ...curve, '-keyout', key, '-out', cert], {
      stdio: 'pipe',
    });
    return { cert: readFileSync(cert), key: readFileSync(key) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

class Http2App {
  /** Connections that it has seen. */
  sessions = 0;
  #live = new Set();
  #streams = new Map();

  async start({ tls }) {
    this.server = tls ? http2.createSecureServer(certificate()) : http2.createServer();
    this.server.on('session', (session) => {
      this.sessions += 1;
      this.#live.add(session);
      session.on('close', () => this.#live.delete(session));
      session.on('error', () => {});
    });
    this.server.on('request', (request, response) => this.#answer(request, response));
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.url = `${tls ? 'https' : 'http'}://localhost:${this.server.address().port}`;
    return this;
  }

  #answer(request, response) {
    response.setHeader('x-protocol', request.httpVersion);
    if (request.method === 'POST') {
      request.pipe(response);
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    const streams = this.#streamsOf(request.url);
    streams.add(response);
    response.on('close', () => streams.delete(response));
  }

  #streamsOf(path) {
    if (!this.#streams.has(path)) this.#streams.set(path, new Set());
    return this.#streams.get(path);
  }

  /** Streams of this path that are open. */
  open(path) {
    return this.#streamsOf(path).size;
  }

  send(path, data) {
    this.#streamsOf(path).forEach((response) => response.write(`data: ${data}\n\n`));
  }

  /** Breaks all connections off. */
  destroySessions() {
    this.#streams.clear();
    this.#live.forEach((session) => session.destroy());
  }

  async stop() {
    this.destroySessions();
    this.server.close();
    await once(this.server, 'close');
  }
}

export const startHttp2 = (options) => new Http2App().start(options);
