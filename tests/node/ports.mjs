// Free ports of the loopback interface, found by binding port 0.

import { once } from 'node:events';
import { createServer } from 'node:net';

import { ExitedEarly } from './child.mjs';

const TRIES = 5;

/** Runs `start` with free ports; again with others when somebody else took one in between. */
export async function onFreePorts(count, start) {
  for (let left = TRIES - 1; ; left -= 1) {
    try {
      return await start(await freePorts(count));
    } catch (error) {
      if (!(error instanceof ExitedEarly) || !/in use/i.test(error.output) || left === 0) throw error;
    }
  }
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(
    servers.map((server) => {
      server.close();
      return once(server, 'close');
    }),
  );
  return ports;
}
