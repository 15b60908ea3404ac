// Clients behind one nginx, each with an address of its own: 127.0.0.0/8 is all ours.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, test } from 'node:test';

import { until } from '../node/wait.mjs';
import { startBare } from './lib/apps.mjs';
import { nodeHttp1 } from './lib/clients.mjs';
import { NGINX_ADDRESS, Nginx } from './lib/nginx.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

const CLIENTS = 500;
const PER_ADDRESS = 2;
/** Connections opened at the same time: below nginx's listen backlog. */
const OPENING_MAX = 100;
const FORGED = '8.8.8.8';

const TRUSTING = { trusted_proxies: [NGINX_ADDRESS] };

let app;
let sidestream;
let nginx;

before(async () => {
  app = await startBare();
  const mine = { name: 'mine', path: '/mine', action: 'fanout' };
  const config = configFor(app, {
    ...TRUSTING,
    routes: [mine],
    limits: { per_address: { subscribers_max: PER_ADDRESS, connections_max: 1 } },
  });
  sidestream = await Sidestream.start(config);
  nginx = await Nginx.start(sidestream.plain);
});

after(async () => {
  await nginx?.stop();
  await sidestream?.stop();
  await app?.stop();
});

const addressOf = (n) => `127.1.${n >> 8}.${n & 255}`;

const open = (n, path = '/feed', headers = {}) =>
  nodeHttp1.open(nginx.url + path, { localAddress: addressOf(n), headers });

test('the cap of an address counts five hundred clients behind one nginx by their own', async () => {
  const connections = [];
  try {
    while (connections.length < CLIENTS) {
      const next = (_, n) => open(Math.floor((connections.length + n) / PER_ADDRESS));
      connections.push(...(await Promise.all(Array.from({ length: OPENING_MAX }, next))));
    }
    const statuses = new Set(connections.map(({ reading }) => reading.status));
    assert.deepEqual([...statuses], [200]);
    assert.equal(await sidestream.metric('sidestream_upstream_connections{route="feed"}'), 1);
    const distinct = CLIENTS / PER_ADDRESS;
    await until('the addresses are counted', async () => {
      return (await sidestream.metric('sidestream_counted_addresses')) === distinct;
    });

    // One more of an address is one too many, whoever it says that it is.
    for (const headers of [{}, { 'x-forwarded-for': FORGED }, { forwarded: `for=${FORGED}` }]) {
      const { reading, close } = await open(0, '/feed', headers);
      close();
      assert.equal(reading.status, 503, JSON.stringify(headers));
    }
    assert.equal(await sidestream.metric('sidestream_refused_total{reason="address_max"}'), 3);

    // Another address has its places, also when it says that it is the one that has none left.
    connections.push(await open(distinct, '/feed', { 'x-forwarded-for': addressOf(0) }));
    assert.equal(connections.at(-1).reading.status, 200);

    await app.send([{ data: 'to all' }]);
    await until('everybody has the event', () =>
      connections.every(({ reading }) => reading.events.at(-1)?.data === 'to all'),
    );
  } finally {
    connections.forEach(({ close }) => close());
  }
});

test('the app sees the address, the scheme and the host that the client used', async () => {
  const headers = { authorization: 'Bearer x', 'x-forwarded-for': FORGED };
  const { close } = await open(7, '/mine', headers);
  try {
    const head = (await app.stats()).heads.at(-1);
    assert.equal(head['x-forwarded-for'], addressOf(7));
    assert.equal(head['x-forwarded-proto'], 'https');
    assert.equal(head['x-forwarded-host'], `127.0.0.1:${nginx.port}`);
    assert.ok(!JSON.stringify(head).includes(FORGED), JSON.stringify(head));
  } finally {
    close();
  }
});

test('an app that redirects http to https does not redirect who came by https', async () => {
  const server = http.createServer(({ headers }, response) => {
    const isSecure = headers['x-forwarded-proto'] === 'https';
    response.writeHead(isSecure ? 200 : 301, isSecure ? {} : { location: 'https://localhost/' });
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const redirecting = { url: `http://127.0.0.1:${server.address().port}` };
  const second = await Sidestream.start(configFor(redirecting, TRUSTING));
  const inFront = await Nginx.start(second.plain);
  try {
    const status = async (origin) => (await fetch(`${origin}/page`, { redirect: 'manual' })).status;
    assert.equal(await status(inFront.url), 200);
    // Nobody in front: this one did come by http.
    assert.equal(await status(second.plain), 301);
  } finally {
    await inFront.stop();
    await second.stop();
    server.close();
  }
});
