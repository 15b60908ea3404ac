// A relay before a listener that stands for a client's slow link: on command it takes nothing more.
// Event streams that pass are kept as they stood on the wire, also what a client does not show.

import http from 'node:http';

import { listen } from './listen.mjs';
import { Reading, SseParser } from './sse.mjs';

/** Headers of one hop, which the relay's own server sets. */
const OWN = ['connection', 'transfer-encoding'];

export class SlowLink {
  /** What passed of each event stream, in the order in which they were opened. */
  readings = [];
  #answers = new Set();
  #held = null;
  #letGo = () => {};

  static async start(target) {
    const link = new SlowLink();
    link.server = http.createServer((request, response) => link.#relay(target, request, response));
    link.url = await listen(link.server);
    return link;
  }

  /** Takes no byte more from the listener until it is released, and tells clients of no end. */
  hold() {
    this.#held = new Promise((resolve) => {
      this.#letGo = resolve;
    });
    this.#answers.forEach((answer) => answer.pause());
  }

  release() {
    this.#held = null;
    this.#letGo();
    this.#answers.forEach((answer) => answer.resume());
  }

  async #relay(target, { url, method, headers }, response) {
    await this.#held;
    const request = http.request(target + url, { method, headers, agent: false }, (answer) => {
      const passed = Object.entries(answer.headers).filter(([name]) => !OWN.includes(name));
      response.writeHead(answer.statusCode, Object.fromEntries(passed));
      response.flushHeaders();
      this.#pass(answer, response);
    });
    request.on('error', () => response.destroy());
    response.on('close', () => request.destroy());
    request.end();
  }

  #pass(answer, response) {
    const reading = new Reading();
    const parser = new SseParser(reading);
    if (answer.headers['content-type'] === 'text/event-stream') this.readings.push(reading);
    this.#answers.add(answer);
    answer.on('data', (bytes) => {
      parser.push(bytes);
      response.write(bytes);
    });
    const end = async (how) => {
      this.#answers.delete(answer);
      await this.#held;
      reading.end(how);
      if (how === 'complete') response.end();
      // Without a last chunk, behind all that passed.
      else response.socket?.destroySoon();
    };
    answer.on('end', () => end('complete'));
    answer.on('error', () => end('cut'));
    if (this.#held) answer.pause();
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
