// An ordinary app: an endless feed, and a page. On SIGTERM it ends its streams and goes.

import http from 'node:http';

const PORT = 3000;
const EVENT_EVERY_MS = 100;

const streams = new Set();
let number = 0;

setInterval(() => {
  number += 1;
  for (const response of streams) response.write(`data: ${number}\n\n`);
}, EVENT_EVERY_MS);

const server = http.createServer((request, response) => {
  if (request.url !== '/feed') return response.end('here\n');
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.flushHeaders();
  streams.add(response);
  response.on('close', () => streams.delete(response));
});
server.listen(PORT, '127.0.0.1', () => console.log('listening'));

process.on('SIGTERM', () => {
  for (const response of streams) response.end();
  process.exit(0);
});
