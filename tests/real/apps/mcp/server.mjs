// An MCP server on the official SDK: streamable HTTP, sessions, an event store for resuming.

import { randomUUID } from 'node:crypto';
import http from 'node:http';

import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

const TICKS = 5;

/** By session id: `{server, transport, streams}`; the streams are open GETs. */
const sessions = new Map();
const stats = { open: 0, total: 0, heads: [] };

/** Keeps everything. (The SDK's example store cannot find a GET stream by its events' ids.) */
class EventStore {
  #events = [];

  async storeEvent(streamId, message) {
    return `${this.#events.push({ streamId, message })}`;
  }

  async getStreamIdForEventId(id) {
    return this.#events[Number(id) - 1]?.streamId;
  }

  async replayEventsAfter(lastId, { send }) {
    const streamId = await this.getStreamIdForEventId(lastId);
    for (const [n, event] of this.#events.entries()) {
      const id = n + 1;
      if (event.streamId === streamId && id > Number(lastId)) await send(`${id}`, event.message);
    }
    return streamId;
  }
}

function newServer() {
  const server = new McpServer({ name: 'ticker', version: '1.0.0' }, { capabilities: { logging: {} } });
  const pauseMs = Number(process.env.TOOL_PAUSE_MS ?? 0);
  // Answers on the POST's own stream: some messages, then the result. Between them, silence.
  server.registerTool('tick', { description: 'ticks' }, async ({ sendNotification, sessionId }) => {
    for (let n = 1; n <= TICKS; n += 1) {
      await sendNotification({
        method: 'notifications/message',
        params: { level: 'info', data: `tick ${n} for ${sessionId}` },
      });
      if (n === 1) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    return { content: [{ type: 'text', text: `done for ${sessionId}` }] };
  });
  return server;
}

async function transportFor(request) {
  const known = sessions.get(request.headers['mcp-session-id']);
  if (known) return known.transport;
  const server = newServer();
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: () => randomUUID(),
    eventStore: new EventStore(),
    onsessioninitialized: (id) => sessions.set(id, { server, transport, streams: new Set() }),
  });
  await server.connect(transport);
  return transport;
}

async function answerMcp(request, response) {
  stats.open += 1;
  stats.total += 1;
  stats.heads.push({ method: request.method, ...request.headers });
  response.on('close', () => {
    stats.open -= 1;
  });
  const session = sessions.get(request.headers['mcp-session-id']);
  if (request.method === 'GET' && session) {
    session.streams.add(response);
    response.on('close', () => session.streams.delete(response));
  }
  await (await transportFor(request)).handleRequest(request, response);
}

const control = {
  '/control/stats': () => ({ '/mcp': stats }),
  // A message of the server's own accord, which goes to the session's GET stream or its store.
  '/control/tell': async (query) => {
    const { server } = sessions.get(query.get('session'));
    await server.sendLoggingMessage({ level: 'info', data: query.get('data') });
    return {};
  },
  '/control/streams': (query) => ({ open: sessions.get(query.get('session')).streams.size }),
  '/control/cut': (query) => {
    for (const stream of sessions.get(query.get('session')).streams) stream.destroy();
    return {};
  },
};

const server = http.createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  if (pathname === '/mcp') return answerMcp(request, response);
  const answer = await control[pathname](searchParams);
  response.setHeader('content-type', 'application/json');
  return response.end(JSON.stringify(answer));
});
server.listen(Number(process.env.PORT), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${process.env.PORT}`);
});
