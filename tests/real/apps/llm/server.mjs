// A model behind the chat completions protocol: fifty tokens and [DONE]. Where the prompt says so, it
// thinks before the first token, dies in the middle, or answers whole.

import http from 'node:http';

const TOKENS = 50;
const stats = { open: 0, total: 0, heads: [] };

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const chunk = (n, delta, finish = null) => ({
  id: 'chatcmpl-1',
  object: 'chat.completion.chunk',
  created: 1,
  model: 'fake',
  choices: [{ index: 0, delta, finish_reason: finish }],
});

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
}

async function complete(request, response) {
  const { messages, stream } = await bodyOf(request);
  const prompt = messages.at(-1).content;
  if (!stream) {
    const message = { role: 'assistant', content: `echo: ${prompt.length}` };
    const choices = [{ index: 0, message, finish_reason: 'stop' }];
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ ...chunk(0), object: 'chat.completion', choices }));
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.flushHeaders();
  const [, thinkMs] = /think (\d+)/.exec(prompt) ?? [];
  if (thinkMs) await pause(Number(thinkMs));
  for (let n = 0; n < TOKENS; n += 1) {
    response.write(`data: ${JSON.stringify(chunk(n, { content: `t${n} ` }))}\n\n`);
    if (prompt === 'die' && n === TOKENS / 2) {
      // What was said is on its way before the end comes.
      await new Promise((resolve) => response.write(': the end is near\n\n', resolve));
      process.kill(process.pid, 'SIGKILL');
    }
    if (prompt === 'endless') n -= 1;
    await pause(2);
    if (response.destroyed) return;
  }
  response.write(`data: ${JSON.stringify(chunk(TOKENS, {}, 'stop'))}\n\n`);
  response.end('data: [DONE]\n\n');
}

const server = http.createServer((request, response) => {
  if (request.url === '/control/stats') {
    response.end(JSON.stringify({ '/v1/chat/completions': stats }));
    return;
  }
  stats.open += 1;
  stats.total += 1;
  stats.heads.push(request.headers);
  response.on('close', () => {
    stats.open -= 1;
  });
  complete(request, response);
});
server.listen(Number(process.env.PORT), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${process.env.PORT}`);
});
