// A TCP relay in front of a listener that cuts connections on command, as a lost network would.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Cutter {
  #pairs = new Set();
  connections = 0;

  static async start(target) {
    const cutter = new Cutter();
    const { hostname, port } = new URL(target);
    cutter.server = createServer((client) => cutter.#relay(client, connect(port, hostname)));
    cutter.server.listen(0, '127.0.0.1');
    await once(cutter.server, 'listening');
    cutter.url = `http://127.0.0.1:${cutter.server.address().port}`;
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
    server.pipe(client);
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
