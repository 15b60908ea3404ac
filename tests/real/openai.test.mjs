// The `openai` library and a model behind a `stream` route.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import OpenAI from 'openai';

import { startLlm } from './lib/apps.mjs';
import { QUICK, Sidestream } from './lib/sidestream.mjs';
import { until } from '../node/wait.mjs';

const PATH = '/v1/chat/completions';
const WHOLE = Array.from({ length: 50 }, (_, n) => `t${n} `).join('');

let app;
let sidestream;
let openai;

before(async () => {
  app = await startLlm();
  sidestream = await Sidestream.start({
    ...QUICK,
    upstreams: { app: app.url },
    routes: [{ name: 'chat', path: PATH, action: 'stream', heartbeat: '1s' }],
  });
  openai = new OpenAI({ apiKey: 'none', baseURL: `${sidestream.plain}/v1`, maxRetries: 0 });
});

after(async () => {
  await sidestream?.stop();
  await app?.stop();
});

const ask = (content, options = {}) =>
  openai.chat.completions.create({
    model: 'fake',
    messages: [{ role: 'user', content }],
    stream: true,
    ...options,
  });

/** `{text, finish}`: what has come, and why it ended; `text` grows in `seen` meanwhile. */
async function read(stream, seen = { text: '' }) {
  let finish = null;
  for await (const { choices } of stream) {
    seen.text += choices[0].delta.content ?? '';
    finish = choices[0].finish_reason ?? finish;
  }
  return { text: seen.text, finish };
}

test('an answer comes whole, token by token', async () => {
  assert.deepEqual(await read(await ask('hello')), { text: WHOLE, finish: 'stop' });
});

test('a long thought is filled with heartbeats that the library does not mind', async () => {
  const beats = await sidestream.metric('sidestream_heartbeats_total');
  assert.deepEqual(await read(await ask('think 2500')), { text: WHOLE, finish: 'stop' });
  assert.ok((await sidestream.metric('sidestream_heartbeats_total')) >= beats + 2, 'heartbeats');
});

test('a long question and an answer that is no stream', async () => {
  const content = 'x'.repeat(2_000_000);
  const answer = await ask(content, { stream: false });
  assert.equal(answer.choices[0].message.content, `echo: ${content.length}`);
});

test('a reader that leaves stops the model', async () => {
  const stream = await ask('endless');
  for await (const { choices } of stream) {
    assert.equal(choices[0].delta.content, 't0 ');
    break;
  }
  await until('the model to be let go', async () => (await app.stats(PATH)).open === 0);
});

test('a model that dies in mid-answer is an error, not an end', async () => {
  const seen = { text: '' };
  await assert.rejects(ask('die').then((stream) => read(stream, seen)));
  const half = WHOLE.split(' ').slice(0, 26).join(' ');
  assert.equal(seen.text.trim(), half, 'all that it said');
  await app.restart();
  assert.deepEqual(await read(await ask('hello')), { text: WHOLE, finish: 'stop' });
});
