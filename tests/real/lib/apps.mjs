// The real apps, each with `send(events)`, `stats(path)`, `kill()`, `restart()` and `stop()`.

import { existsSync } from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';

import { Child } from '../../node/child.mjs';
import { listen } from '../../node/listen.mjs';
import { onFreePorts } from '../../node/ports.mjs';
import { PYTHON } from './clients.mjs';

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const NEST_MAIN = here('results/nest/main.js');
const FASTAPI_MAIN = here('apps/fastapi/app.py');
const MCP_MAIN = here('apps/mcp/server.mjs');
const LLM_MAIN = here('apps/llm/server.mjs');
const NO_STATS = { open: 0, total: 0, heads: [] };

/** An app in a process of its own, which prints where it listens. */
class ChildApp {
  constructor(name, command, args, env = {}) {
    Object.assign(this, { name, command, args, env });
  }

  async start() {
    await onFreePorts(1, ([port]) => {
      this.port = port;
      this.url = `http://127.0.0.1:${port}`;
      return this.#spawn();
    });
    return this;
  }

  async #spawn() {
    this.child = new Child(this.name, this.command, this.args, {
      env: { ...this.env, PORT: `${this.port}` },
    });
    // Its own word: on a port that it did not get, somebody else would answer.
    await this.child.untilReady(() => this.child.output.includes(` on ${this.url}`));
  }

  /** Publishes events to everyone who reads /feed. */
  async send(events) {
    const response = await fetch(`${this.url}/control/send`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(events),
    });
    const answer = await response.text();
    if (answer !== JSON.stringify({ sent: events.length })) {
      throw new Error(`${this.name} was sent ${events.length} events and said ${response.status}: ${answer}`);
    }
  }

  /** Ends the session of a cookie. */
  async logOut(cookie) {
    const response = await fetch(`${this.url}/control/logout`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ cookie }),
    });
    if (!response.ok) throw new Error(`${this.name} did not log out: ${response.status}`);
  }

  /** `{open, total, heads}`: requests for a path as the app counts them. */
  async stats(path = '/feed') {
    const stats = await (await fetch(`${this.url}/control/stats`)).json();
    return stats[path] ?? NO_STATS;
  }

  kill() {
    return this.child.stop('SIGKILL');
  }

  /** Starts again on the same port. */
  restart() {
    return this.#spawn();
  }

  stop() {
    return this.kill();
  }
}

export async function startNest() {
  if (!existsSync(NEST_MAIN)) throw new Error(`${NEST_MAIN} is missing: run "npm run build"`);
  return new ChildApp('NestJS', process.execPath, [NEST_MAIN]).start();
}

export const startFastApi = () => new ChildApp('FastAPI', PYTHON, [FASTAPI_MAIN]).start();

const startNode = (name, main, env) => new ChildApp(name, process.execPath, [main], env).start();

export const startMcp = (env) => startNode('MCP server', MCP_MAIN, env);
export const startLlm = () => startNode('model', LLM_MAIN);

/**
 * A bare Node server: `\r\n` line ends, comments, ids of its own, fields without the space after the
 * colon, and writes that split the bytes anywhere, also between `\r` and `\n`.
 */
class BareApp {
  #readers = new Set();
  #stats = { ...NO_STATS };
  #nextId = 1;
  #split = 0;
  name = 'bare Node';

  async start() {
    this.server = http.createServer((request, response) => this.#answer(request, response));
    this.url = await listen(this.server);
    return this;
  }

  #answer(request, response) {
    const { open, total, heads } = this.#stats;
    this.#stats = { open: open + 1, total: total + 1, heads: [...heads, request.headers] };
    response.socket.setNoDelay(true);
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    response.write('\ufeff: hello\r\n\r\n');
    this.#readers.add(response);
    response.on('close', () => {
      this.#readers.delete(response);
      this.#stats = { ...this.#stats, open: this.#stats.open - 1 };
    });
  }

  #encode({ type, data }) {
    const space = this.#nextId % 2 ? '' : ' ';
    const fields = [`id:${space}app-${this.#nextId}`, `:${space}between the fields`];
    this.#nextId += 1;
    if (type) fields.push(`event:${space}${type}`);
    // The standard drops one space after the colon: data that begins with one needs it.
    for (const line of data.split('\n')) fields.push(`data:${line.startsWith(' ') ? ' ' : space}${line}`);
    return Buffer.from(`${fields.join('\r\n')}\r\n\r\n: after the event\r\n\r\n`);
  }

  /** Publishes events, each cut into writes of a few bytes up to a few thousand. */
  async send(events) {
    for (const event of events) {
      const bytes = this.#encode(event);
      for (let at = 0; at < bytes.length; ) {
        this.#split = (this.#split * 7 + 3) % 101;
        const size = bytes.length > 1_000 ? 997 + this.#split : 1 + (this.#split % 13);
        for (const reader of this.#readers) reader.write(bytes.subarray(at, at + size));
        at += size;
        await new Promise(setImmediate);
      }
    }
  }

  async stats() {
    return this.#stats;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

export const startBare = () => new BareApp().start();
