// Real clients behind one interface: `open(url, options)` starts reading and resolves with a
// connection `{reading, close()}` once the stream is open.
//
// options: `headers`, `lastEventId` (sent as a header), `ca` (PEM file for https); of nodeHttp1 also
// `localAddress` (to connect from), of httpx `reading` (of an earlier connection, to go on with).
//
// A client either `reconnects` by itself, carrying its last event id, or is opened again by the test.
// It `keepsBareIds` when it remembers the id of a block without data, as the standard says.
// `sees` is what a client with a defect of its own makes of data that it gets intact.

import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { fileURLToPath } from 'node:url';

import { fetchEventSource } from '@microsoft/fetch-event-source';
import { EventSource as EventSource4 } from 'eventsource';
import EventSource2 from 'eventsource2';

import { Child } from '../../node/child.mjs';
import { until } from '../../node/wait.mjs';
import { TYPES } from './payloads.mjs';
import { Reading, SseParser } from '../../node/sse.mjs';

/** What a browser's EventSource sends. */
export const EVENT_SOURCE_HEADERS = { accept: 'text/event-stream', 'cache-control': 'no-cache' };

const requestHeaders = ({ headers = {}, lastEventId }) =>
  lastEventId ? { ...headers, 'last-event-id': lastEventId } : headers;

const certificate = ({ ca }) => (ca ? { ca: readFileSync(ca) } : {});

/** Feeds bytes to `reading`. */
function reader(reading) {
  const parser = new SseParser(reading);
  return (bytes) => parser.push(bytes);
}

/** node:http, one connection per stream. */
export const nodeHttp1 = {
  name: 'node http/1.1',
  async open(url, options = {}) {
    const reading = new Reading();
    const { get } = url.startsWith('https:') ? https : http;
    const request = get(url, {
      agent: false,
      headers: requestHeaders(options),
      localAddress: options.localAddress,
      ...certificate(options),
    });
    const [response] = await once(request, 'response');
    reading.open(response.statusCode, response.headers);
    response.on('data', reader(reading));
    response.on('end', () => reading.end('complete'));
    response.on('error', () => reading.end('cut'));
    request.on('error', () => reading.end('cut'));
    return { reading, close: () => request.destroy() };
  },
};

/** Opens an HTTP/2 session; `http:` means prior knowledge. */
export async function http2Session(origin, options = {}) {
  const session = http2.connect(origin, certificate(options));
  session.goneAway = false;
  session.on('goaway', () => {
    session.goneAway = true;
  });
  session.on('error', () => {});
  await once(session, 'connect');
  return session;
}

/** One stream on an HTTP/2 session. */
export async function openOnSession(session, path, options = {}) {
  const reading = new Reading();
  const stream = session.request({ ':path': path, ...requestHeaders(options) });
  stream.on('error', () => reading.end('cut'));
  const [headers] = await once(stream, 'response');
  reading.open(headers[':status'], headers);
  stream.on('data', reader(reading));
  // A stream that is reset ends too, but with a code.
  stream.on('end', () => reading.end(stream.rstCode === 0 ? 'complete' : 'cut'));
  stream.on('close', () => reading.end('cut'));
  return { reading, close: () => stream.close(http2.constants.NGHTTP2_CANCEL) };
}

/** node:http2, one session per stream. */
export const nodeHttp2 = {
  name: 'node h2',
  async open(url, options = {}) {
    const { origin, pathname, search } = new URL(url);
    const session = await http2Session(origin, options);
    const { reading } = await openOnSession(session, pathname + search, options);
    return { reading, close: () => session.destroy() };
  },
};

/** Native fetch, read as a stream. */
export const nativeFetch = {
  name: 'fetch',
  async open(url, options = {}) {
    const reading = new Reading();
    const controller = new AbortController();
    const response = await fetch(url, {
      headers: requestHeaders(options),
      signal: controller.signal,
    });
    reading.open(response.status, Object.fromEntries(response.headers));
    const push = reader(reading);
    const read = async () => {
      for await (const chunk of response.body) push(chunk);
    };
    read().then(
      () => reading.end('complete'),
      () => reading.end('cut'),
    );
    return { reading, close: () => controller.abort() };
  },
};

/** The `eventsource` package; it reconnects by itself. */
function eventSourceClient(name, EventSource, traits = {}) {
  return {
    name,
    reconnects: true,
    ...traits,
    async open(url, options = {}) {
      const reading = new Reading();
      const source = new EventSource(url, { headers: options.headers });
      source.onopen = () => reading.open();
      source.onerror = () => reading.end('cut');
      const listener = ({ type, lastEventId, data }) => reading.event({ id: lastEventId, type, data });
      for (const type of ['message', ...TYPES]) source.addEventListener(type, listener);
      await until(`${name} to open ${url}`, () => reading.opens > 0);
      return { reading, close: () => source.close() };
    },
  };
}

/** `@microsoft/fetch-event-source`; made for browsers, it wants their globals. */
export const fetchEventSourceClient = {
  name: 'fetch-event-source 2',
  reconnects: true,
  // It decodes field by field, each time dropping a byte order mark, and forgets an empty first line.
  sees: (data) => data.replace(/^[\n\ufeff]/, ''),
  async open(url, options = {}) {
    globalThis.window ??= globalThis;
    globalThis.document ??= { removeEventListener() {} };
    const reading = new Reading();
    const controller = new AbortController();
    fetchEventSource(url, {
      fetch,
      headers: requestHeaders(options),
      signal: controller.signal,
      openWhenHidden: true,
      onopen: async (response) => reading.open(response.status, Object.fromEntries(response.headers)),
      // It hands out blocks without data as well, which the standard says to drop; it has no way to
      // tell them from an empty `data:`.
      onmessage: ({ id, event, data }) => {
        if (id !== '') reading.lastEventId = id;
        if (data !== '') reading.event({ id: reading.lastEventId, type: event || 'message', data });
      },
      onclose: () => {
        reading.end('complete');
        throw new Error('come back, as EventSource does');
      },
      onerror: () => reading.end('cut'),
    }).catch(() => {});
    await until(`fetch-event-source to open ${url}`, () => reading.opens > 0);
    return { reading, close: () => controller.abort() };
  },
};

/** The curl command with the given protocol flag. */
function curlClient(name, flag) {
  return {
    name,
    async open(url, options = {}) {
      const reading = new Reading();
      const push = reader(reading);
      let head = '';
      const onStdout = (bytes) => {
        if (reading.opens > 0) return push(bytes);
        head += bytes.toString('latin1');
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        reading.open(Number(head.split(' ')[1]), { version: head.split(' ')[0] });
        push(Buffer.from(head.slice(end + 4), 'latin1'));
      };
      const fields = Object.entries(requestHeaders(options)).flatMap(([k, v]) => ['-H', `${k}: ${v}`]);
      const trust = options.ca ? ['--cacert', options.ca] : [];
      const args = ['--silent', '--no-buffer', '--include', flag, ...trust, ...fields, url];
      const curl = new Child(name, 'curl', args, { onStdout });
      curl.process.on('close', (code) => reading.end(code === 0 ? 'complete' : 'cut'));
      await curl.untilReady(() => reading.opens > 0);
      return { reading, close: () => curl.stop('SIGKILL') };
    },
  };
}

const HTTPX_SCRIPT = fileURLToPath(new URL('../clients/httpx_sse_client.py', import.meta.url));
export const PYTHON = fileURLToPath(new URL('../.venv/bin/python', import.meta.url));

/** Python's httpx with httpx-sse. */
function httpxClient(name, flags) {
  return {
    name,
    async open(url, options = {}) {
      const reading = options.reading ?? new Reading();
      const { opens } = reading;
      let rest = '';
      const onStdout = (bytes) => {
        const lines = (rest + bytes).split('\n');
        rest = lines.pop();
        for (const line of lines) {
          const said = JSON.parse(line);
          if (said.open) reading.open(said.open, { version: said.version });
          else if (said.end) reading.end(said.end);
          else reading.event(said);
        }
      };
      const trust = options.ca ? ['--ca', options.ca] : [];
      const resume = options.lastEventId ? ['--last-event-id', options.lastEventId] : [];
      const args = [HTTPX_SCRIPT, url, ...flags, ...trust, ...resume];
      const child = new Child(name, PYTHON, args, { onStdout });
      child.process.stdout.setEncoding('utf8');
      await child.untilReady(() => reading.opens > opens);
      return { reading, close: () => child.stop('SIGKILL') };
    },
  };
}

export const httpxSse = httpxClient('httpx-sse', []);
export const eventSource4 = eventSourceClient('eventsource 4', EventSource4);

/** Every client, with the listener it is to be used on. */
export const CLIENTS = [
  { ...curlClient('curl --http1.1', '--http1.1'), listener: 'plain', version: 'HTTP/1.1' },
  { ...curlClient('curl --http1.0', '--http1.0'), listener: 'plain' },
  { ...curlClient('curl --http2', '--http2'), listener: 'secure', version: 'HTTP/2' },
  {
    ...curlClient('curl --http2-prior-knowledge', '--http2-prior-knowledge'),
    listener: 'plain',
    version: 'HTTP/2',
  },
  { ...nodeHttp1, listener: 'plain' },
  { ...nodeHttp1, name: 'node http/1.1 over TLS', listener: 'secure' },
  { ...nodeHttp2, name: 'node h2 over TLS', listener: 'secure' },
  { ...nodeHttp2, name: 'node h2c', listener: 'plain' },
  { ...nativeFetch, listener: 'plain' },
  {
    ...eventSourceClient('eventsource 2', EventSource2, { keepsBareIds: true }),
    listener: 'plain',
  },
  { ...eventSource4, listener: 'plain' },
  { ...fetchEventSourceClient, listener: 'plain' },
  { ...httpxSse, listener: 'plain', version: 'HTTP/1.1' },
  { ...httpxClient('httpx-sse over h2', ['--http2']), listener: 'secure', version: 'HTTP/2' },
];
