// A client as a browser's EventSource is: it comes back after the time it was told.

import http from 'node:http';

import { pause } from '../node/wait.mjs';

export class Client {
  /** `{pod, at}` of each stream that was opened, and of each end. */
  opened = [];
  left = [];
  /** Whatever a page would show as an error. */
  errors = [];
  /** Pod and number of the events. */
  events = [];
  #retryMs = 1_000;
  #request;
  #closed = false;

  /** `endpoint` says which pod a new connection goes to. */
  constructor(endpoint) {
    this.endpoint = endpoint;
    this.running = this.#run();
  }

  async #run() {
    while (!this.#closed) {
      const pod = this.endpoint();
      await this.#read(pod).catch((error) => this.#closed || this.errors.push(`${pod.link}: ${error}`));
      this.left.push({ pod, at: performance.now() });
      if (!this.#closed) await pause(this.#retryMs);
    }
  }

  #read(pod) {
    return new Promise((resolve, reject) => {
      const headers = { accept: 'text/event-stream', 'cache-control': 'no-cache' };
      this.#request = http.get(`${pod.url}/feed`, { agent: false, headers }, (response) => {
        if (response.statusCode !== 200) return reject(new Error(`status ${response.statusCode}`));
        this.opened.push({ pod, at: performance.now() });
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (text) => {
          const lines = (rest + text).split('\n');
          rest = lines.pop();
          for (const line of lines) {
            if (line.startsWith('retry: ')) this.#retryMs = Number(line.slice(7));
            if (line.startsWith('data: ')) this.events.push(line.slice(6));
          }
        });
        response.on('end', resolve);
        response.on('error', reject);
      });
      this.#request.on('error', reject);
    });
  }

  async close() {
    this.#closed = true;
    this.#request.destroy();
    await this.running;
  }
}
