// The MCP SDK's client and server with a `stream` route between them: sessions, POST and GET
// streams, resuming.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { startMcp } from './lib/apps.mjs';
import { QUICK, Sidestream } from './lib/sidestream.mjs';
import { until } from '../node/wait.mjs';

const TOOL_PAUSE_MS = 2_500;
const RECONNECTING = {
  initialReconnectionDelay: 50,
  maxReconnectionDelay: 200,
  reconnectionDelayGrowFactor: 1.5,
  maxRetries: 20,
};

let app;
let sidestream;

before(async () => {
  app = await startMcp({ TOOL_PAUSE_MS: `${TOOL_PAUSE_MS}` });
  sidestream = await Sidestream.start({
    ...QUICK,
    upstreams: { app: app.url },
    routes: [{ name: 'mcp', path: '/mcp', action: 'stream', heartbeat: '1s' }],
  });
});

after(async () => {
  await sidestream?.stop();
  await app?.stop();
});

async function control(path, query) {
  const response = await fetch(`${app.url}/control/${path}?${new URLSearchParams(query)}`);
  return response.json();
}

/** A client with a session; `heard` is what the server said to it. */
async function connect(name) {
  const heard = [];
  const errors = [];
  const client = new Client({ name, version: '1.0.0' });
  client.onerror = (error) => errors.push(error);
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
    heard.push(params.data);
  });
  const url = new URL(`${sidestream.plain}/mcp`);
  const transport = new StreamableHTTPClientTransport(url, { reconnectionOptions: RECONNECTING });
  await client.connect(transport);
  const session = transport.sessionId;
  const streaming = async () => (await control('streams', { session })).open === 1;
  await until('the GET stream', streaming);
  return { client, transport, session, heard, errors, streaming };
}

async function end({ client, transport }) {
  await transport.terminateSession();
  await client.close();
}

const ticks = (session) => [1, 2, 3, 4, 5].map((n) => `tick ${n} for ${session}`);

test('each session hears what is said to it, on both kinds of streams', async () => {
  const clients = await Promise.all(['alice', 'bob'].map(connect));
  const beats = await sidestream.metric('sidestream_heartbeats_total');
  // The tool is silent for longer than the heartbeat's interval.
  const results = await Promise.all(clients.map(({ client }) => client.callTool({ name: 'tick' })));
  for (const { session } of clients) await control('tell', { session, data: `news for ${session}` });
  for (const [n, { session, heard, errors }] of clients.entries()) {
    const wanted = [...ticks(session), `news for ${session}`];
    await until('the news', () => heard.length >= wanted.length);
    assert.deepEqual(heard, wanted);
    assert.deepEqual(results[n].content, [{ type: 'text', text: `done for ${session}` }]);
    assert.deepEqual(errors, []);
  }
  assert.ok((await sidestream.metric('sidestream_heartbeats_total')) > beats, 'heartbeats');
  await Promise.all(clients.map(end));
  await until('the app to be left', async () => (await app.stats('/mcp')).open === 0);
});

test('a session whose stream breaks off resumes by id and misses nothing', async () => {
  const { client, transport, session, heard, streaming } = await connect('carol');
  await control('tell', { session, data: 'one' });
  await until('the first message', () => heard.length === 1);
  await control('cut', { session });
  await control('tell', { session, data: 'two' });
  await until('the stream again', streaming);
  await control('tell', { session, data: 'three' });
  await until('the rest', () => heard.length >= 3);
  assert.deepEqual(heard, ['one', 'two', 'three']);
  const { heads } = await app.stats('/mcp');
  assert.ok(heads.some((head) => head.method === 'GET' && head['last-event-id']), 'resumed by id');
  await end({ client, transport });
});
