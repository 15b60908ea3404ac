// An app with both kinds of answers: event streams at /feed/NAME, each of which has one reader, and
// bodies at /body/SIZE. It publishes for whoever asks, so that a client in another language can be a
// script that says and reads all.

import { once } from 'node:events';
import http from 'node:http';
import { json } from 'node:stream/consumers';

import { listen } from '../../node/listen.mjs';

/** Its length is prime: a part of a body that is missing, doubled or moved shows. */
const PERIOD = Buffer.from(Array.from({ length: 251 }, (_, at) => at));

/** What GET /body/SIZE answers. */
export const bodyOf = (size) => Buffer.alloc(size, PERIOD);

class MixedApp {
  #feeds = new Map();

  async start() {
    this.server = http.createServer((request, response) => this.#answer(request, response));
    this.url = await listen(this.server);
    return this;
  }

  async #answer(request, response) {
    const [, kind, name] = request.url.split('/');
    if (kind === 'publish') {
      this.send(name, (await json(request)).map((data) => ({ data })));
      response.end();
    } else if (kind === 'end') {
      this.end(name);
      response.end();
    } else if (kind === 'body') {
      response.end(bodyOf(Number(name)));
    } else {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
      this.#feeds.set(name, response);
    }
  }

  /** Whether somebody reads /feed/NAME. */
  isRead(name) {
    return this.#feeds.has(name);
  }

  /** Publishes events of one line. */
  send(name, events) {
    this.#feeds.get(name).write(events.map(({ data }) => `data: ${data}\n\n`).join(''));
  }

  end(name) {
    this.#feeds.get(name).end();
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}

export const startMixed = () => new MixedApp().start();
