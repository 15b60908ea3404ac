// Apps on node:http2, which speak nothing else: by prior knowledge and over TLS.

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { until } from '../node/wait.mjs';
import { exactly } from './lib/checks.mjs';
import { CLIENTS } from './lib/clients.mjs';
import { startHttp2 } from './lib/http2.mjs';
import { Sidestream, configFor } from './lib/sidestream.mjs';

const EVENTS = Array.from({ length: 50 }, (_, at) => ({ data: `event ${at}` }));
const SHARED = 'sidestream_app_shared_connections{upstream="app"}';

let app;
let sidestream;

/** Starts both. Over TLS the app picks `h2` by ALPN. */
async function start(http, { tls }) {
  app = await startHttp2({ tls });
  const upstream = { address: app.url, http, ...(tls && { tls: { verify: false } }) };
  const talk = { name: 'talk', path: '/talk', action: 'stream' };
  const config = configFor(app, { routes: [talk] });
  sidestream = await Sidestream.start({ ...config, upstreams: { app: upstream } });
}

afterEach(async () => {
  await sidestream?.stop();
  await app?.stop();
});

const WAYS = [
  ['h2c', 2, { tls: false }],
  ['TLS', 2, { tls: true }],
  ['TLS, by its own choice', 'auto', { tls: true }],
];

for (const [name, http, options] of WAYS) {
  test(`${name}: every client gets every event, by one stream of the app`, async () => {
    await start(http, options);
    const opened = [];
    for (const client of CLIENTS) {
      const secure = client.listener === 'secure' ? { ca: sidestream.ca } : {};
      opened.push([client, await client.open(`${sidestream[client.listener]}/feed`, secure)]);
    }
    // `http` and `https` are two channels, of one connection or of two workers'.
    await until('both streams are open', () => app.open('/feed') === 2);
    EVENTS.forEach(({ data }) => app.send('/feed', data));
    for (const [client, { reading, close }] of opened) {
      await exactly(client, reading, EVENTS);
      await close();
    }
    assert.ok(app.sessions <= 2, `${app.sessions} connections`);
    assert.equal(await sidestream.metric(SHARED), app.sessions);
  });

  test(`${name}: bodies and answers go both ways on stream routes and beside them`, async () => {
    await start(http, options);
    for (const [path, size] of [['/talk', 4 << 20], ['/echo', 1 << 19]]) {
      const body = 'x'.repeat(size);
      const answer = await fetch(`${sidestream.plain}${path}`, { method: 'POST', body });
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get('x-protocol'), '2.0');
      assert.ok((await answer.text()) === body, path);
    }
  });

  test(`${name}: a connection that the app destroys is made again under its readers`, async () => {
    await start(http, options);
    const client = CLIENTS.find(({ name: is }) => is === 'fetch');
    const { reading, close } = await client.open(`${sidestream.plain}/feed`, {});
    await until('the stream is open', () => app.open('/feed') === 1);
    app.send('/feed', EVENTS[0].data);
    await exactly(client, reading, EVENTS.slice(0, 1));
    app.destroySessions();
    await until('it is open again', () => app.open('/feed') === 1);
    app.send('/feed', EVENTS[1].data);
    await until('the next event', () => reading.events.some(({ data }) => data === EVENTS[1].data));
    await close();
  });
}
