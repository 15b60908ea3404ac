// A TCP relay in front of a listener that cuts connections on command, as a lost network would.

import { connect, createServer } from 'node:net';

import { listen } from '../../node/listen.mjs';

export class Cutter {
  #pairs = new Set();
  #bytesLeft = Infinity;
  connections = 0;

  static async start(target) {
    const cutter = new Cutter();
    const { hostname, port } = new URL(target);
    cutter.server = createServer((client) => cutter.#relay(client, connect(port, hostname)));
    cutter.url = await listen(cutter.server);
    return cutter;
  }

  #relay(client, server) {
    this.connections += 1;
    const pair = { client, server };
    this.#pairs.add(pair);
    const drop = () => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on('error', drop).on('close', drop);
    client.pipe(server);
    server.on('data', (bytes) => this.#pass(client, bytes));
    server.on('end', () => client.end());
  }

  #pass(client, bytes) {
    const part = bytes.subarray(0, this.#bytesLeft);
    this.#bytesLeft -= part.length;
    client.write(part);
    if (this.#bytesLeft > 0) return;
    this.#bytesLeft = Infinity;
    this.cut();
  }

  /** Resets every connection once so many more bytes have come from the listener. */
  cutAfter(bytes) {
    this.#bytesLeft = bytes;
  }

  /** Resets every connection. */
  cut() {
    for (const { client, server } of this.#pairs) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  }

  stop() {
    this.cut();
    this.server.close();
  }
}
