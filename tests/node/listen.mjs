// Servers of tests, on a port of the kernel's choice.

import { once } from 'node:events';

/** Listens on loopback; the address as a URL. */
export async function listen(server, scheme = 'http') {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `${scheme}://127.0.0.1:${server.address().port}`;
}
