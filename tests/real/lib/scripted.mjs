// Small apps for what the frameworks leave to their users: one answer a request, and replay by id.

import { once } from 'node:events';
import http from 'node:http';

class App {
  /** Heads of the requests so far. */
  requests = [];

  async start(port = 0) {
    this.server = http.createServer((request, response) => {
      this.requests.push(request.headers);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
      this.answer(request, response);
    });
    this.server.listen(port, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
    return this;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}

/** Answers each request with the first half of its tokens, and the rest and the end when told to. */
class AnsweringApp extends App {
  #waiting = [];

  constructor(tokens) {
    super();
    this.tokens = tokens;
  }

  answer(_request, response) {
    const half = this.tokens.length / 2;
    const say = (tokens) => tokens.forEach((token) => response.write(`data: ${token}\n\n`));
    say(this.tokens.slice(0, half));
    this.#waiting.push(() => {
      say(this.tokens.slice(half));
      response.end();
    });
  }

  finish() {
    this.#waiting.splice(0).forEach((goOn) => goOn());
  }
}

/** Keeps its events over restarts, and replays those behind `Last-Event-ID`. */
class ResumingApp extends App {
  #history = [];
  #readers = new Set();

  answer({ headers }, response) {
    const last = headers['last-event-id'];
    const known = this.#history.findIndex(({ id }) => id === last);
    if (known >= 0) this.#history.slice(known + 1).forEach((event) => this.#write(response, event));
    this.#readers.add(response);
    response.on('close', () => this.#readers.delete(response));
  }

  #write(response, { id, data }) {
    response.write(`id: ${id}\ndata: ${data}\n\n`);
  }

  send(events) {
    for (const { data } of events) {
      const event = { id: `order/${this.#history.length + 1}`, data };
      this.#history.push(event);
      this.#readers.forEach((reader) => this.#write(reader, event));
    }
  }

  get open() {
    return this.#readers.size;
  }
}

export const startAnswering = (tokens) => new AnsweringApp(tokens).start();
export const startResuming = () => new ResumingApp().start();
