// The demo page: wires the controls, the tiles and the numbers together.

import { Flow } from './flow.js';
import { Log } from './log.js';
import { Pool } from './streams.js';

const COUNT_MAX = 200;
const PRESETS = [1, 6, 7, 20, 100];
const POLL_MS = 500;
const API_TIMEOUT_MS = 3000;
const API = '/__sidestream/api/';

const $ = (id) => document.getElementById(id);
const facts = JSON.parse($('facts').textContent);
const secure = location.protocol === 'https:';
const protocol = { h2: 'HTTP/2', 'http/1.1': 'HTTP/1.1', h3: 'HTTP/3' }[
  performance.getEntriesByType('navigation')[0]?.nextHopProtocol
] ?? (secure ? 'HTTPS' : 'HTTP/1.1');
const limited = protocol === 'HTTP/1.1';

const log = new Log($('log'));
const flow = new Flow($('wires-up'), $('wires-down'));
const pool = new Pool(report);
const tiles = new Map();
/** Chat: the same question asked anew is another channel; tabs opened from here share it. */
let ask = '';
let state = null;
let restart = null;

// ---------------------------------------------------------------- events of the readers

function report(reader, kind, event) {
  if (kind === 'open') log.state(reader, 'open', reader.errors ? 'connected again' : 'connected');
  else if (kind === 'error') {
    log.state(reader, 'error', reader.state === 'closed' ? 'given up' : 'lost; the browser tries again');
  } else {
    log.event(reader, kind, event);
    if (kind === 'event') flow.pulse();
    if (isChat()) hear(reader, event);
  }
  schedule();
}

/** The chat's answer, as the first reader hears it. */
function hear(reader, event) {
  if (event.type === 'message') reader.text += JSON.parse(event.data).token ?? '';
  if (reader.number === 1) $('answer').textContent = reader.text;
  const readers = pool.readers;
  if (readers.every((other) => other.done)) {
    const same = readers.filter((other) => other.text === reader.text).length;
    log.note(`${same} of ${readers.length} readers hold the same answer, word for word`);
  }
}

let scheduled = 0;
/** One write to the document for all that happens within a frame (or so, in a hidden tab). */
function schedule() {
  if (!scheduled) scheduled = setTimeout(render, 50);
}

// ---------------------------------------------------------------- the document

function render() {
  scheduled = 0;
  for (const [reader, tile] of tiles) {
    if (!pool.readers.includes(reader)) { tile.remove(); tiles.delete(reader); }
  }
  for (const reader of pool.readers) {
    if (!tiles.has(reader)) {
      const tile = newTile(reader);
      tiles.set(reader, tile);
      $('tiles').append(tile);
    }
    paint(reader, tiles.get(reader));
  }
  const counts = pool.counts;
  const connected = pool.readers.length > 0;
  $('empty').hidden = connected;
  $('answer').hidden = !(connected && isChat());
  text('count-open', counts.open);
  text('count-pending', counts.pending + counts.again);
  text('count-closed', counts.closed + counts.done);
  text('count-events', counts.events.toLocaleString('en'));
  document.title = connected ? `${counts.open} open · Sidestream demo` : 'Sidestream demo';
  $('disconnect').disabled = !connected;
  link();
  stuck(counts);
  log.flush();
}

const STATES = { open: 'open', pending: 'pending', again: 'back soon', closed: 'closed', done: 'done' };

function newTile(reader) {
  const tile = document.createElement('li');
  tile.innerHTML = '<b></b><span class="state"></span><span class="events"></span>';
  tile.querySelector('b').textContent = reader.number;
  return tile;
}

function paint(reader, tile) {
  const { state: now, events, gaps } = reader;
  if (tile.dataset.state !== now) {
    tile.dataset.state = now;
    tile.querySelector('.state').textContent = STATES[now];
    tile.setAttribute('aria-label', `EventSource ${reader.number}: ${STATES[now]}`);
  }
  tile.classList.toggle('gap', gaps > 0);
  const seen = String(events + gaps);
  if (tile.dataset.events === seen) return;
  tile.dataset.events = seen;
  tile.querySelector('.events').textContent = events;
  if (!document.hidden) {
    tile.getAnimations().forEach((animation) => animation.cancel());
    tile.animate([{ boxShadow: '0 0 0 2px var(--accent)', background: 'var(--flash)' }, {}], { duration: 700 });
  }
}

/** The point of the plain page: six are open, the rest waits for ever. */
function stuck(counts) {
  const here = counts.pending > 0 && limited && counts.open + others.open >= 6;
  if (here !== !$('stuck').hidden) $('stuck').hidden = !here;
  if (!here) return;
  const tabs = others.open ? ` (${others.open} of them in your other tabs)` : '';
  const key = `${counts.pending} ${tabs}`;
  if ($('stuck').dataset.key === key) return;
  $('stuck').dataset.key = key;
  const target = Object.assign(document.createElement('a'), {
    href: $('origin-secure').href, textContent: 'Open the same over HTTP/2',
  });
  const waits = counts.pending === 1 ? 'one more waits' : `${counts.pending} more wait`;
  $('stuck').replaceChildren(
    Object.assign(document.createElement('b'), { textContent: `Six are open${tabs}, ${waits}. ` }),
    'Over HTTP/1.1 a browser keeps at most six connections to one origin, across all of its tabs. '
      + 'Every further request queues behind them, even for this very page. ', target,
  );
}

function text(id, value) {
  const element = $(id);
  if (element.textContent !== String(value)) element.textContent = value;
}

// ---------------------------------------------------------------- controls

const isChat = () => stream() === '/demo/chat';

function stream() {
  return facts.upstream ? $('path').value.trim() : new FormData($('controls')).get('stream');
}

function url() {
  if (!isChat()) return stream();
  return `/demo/chat?${new URLSearchParams({ prompt: $('prompt').value, ask })}`;
}

function count() {
  return Math.min(COUNT_MAX, Math.max(1, Math.trunc(Number($('count').value)) || 1));
}

function connect() {
  $('count').value = count();
  if (!stream()?.startsWith('/')) { $('path').focus(); return; }
  if (isChat()) {
    if (!ask || pool.readers.length) ask = Math.random().toString(36).slice(2, 8);
    pool.clear();
  }
  pool.resize(count(), url());
  schedule();
}

/** One more or one less: at once when connected. */
function step(by) {
  const connected = pool.readers.length;
  const next = Math.min(COUNT_MAX, Math.max(connected ? 0 : 1, (connected || count()) + by));
  $('count').value = Math.max(1, next);
  if (connected) pool.resize(next, pool.readers[0].url);
  schedule();
}

function disconnect() {
  pool.clear();
  ask = '';
  schedule();
}

/** The address of this page with the choices made, for further tabs and for the other origin. */
function link() {
  const query = new URLSearchParams({ stream: stream() ?? '', n: count() });
  if (isChat()) { query.set('prompt', $('prompt').value); query.set('ask', ask); }
  if (pool.readers.length) query.set('connect', '1');
  const path = `${location.pathname}?${query}`;
  if (`${location.pathname}${location.search}` !== path) history.replaceState(null, '', path);
  $('another-tab').href = path;
  $('origin-plain').href = `${plainOrigin()}${path}`;
  $('origin-secure').href = `${secureOrigin()}${path}`;
}

const plainOrigin = () => `http://${location.hostname}:${facts.ports.plain}`;
const secureOrigin = () => `https://${location.hostname}:${facts.ports.secure}`;

function build() {
  const asked = new URLSearchParams(location.search);
  const wanted = asked.get('stream');
  $('path-field').hidden = !facts.upstream;
  $('choice').hidden = Boolean(facts.upstream);
  $('restart').hidden = Boolean(facts.upstream);
  for (const { label, path } of facts.streams) {
    const choice = document.createElement('label');
    const radio = Object.assign(document.createElement('input'), { type: 'radio', name: 'stream', value: path });
    radio.checked = facts.streams.some((other) => other.path === wanted)
      ? path === wanted : path === facts.streams[0].path;
    choice.append(radio, Object.assign(document.createElement('span'), { textContent: label, title: path }));
    if (!facts.upstream) $('choice').append(choice);
    $('paths').append(Object.assign(document.createElement('option'), { value: path.replaceAll(/\{[^}]*\}/g, 'xxx') }));
  }
  if (facts.upstream) $('path').value = wanted || $('paths').options[0]?.value || '/';
  $('count').value = asked.get('n') ?? 7;
  $('count').value = count();
  if (asked.has('prompt')) $('prompt').value = asked.get('prompt');
  ask = asked.get('ask') ?? '';
  for (const preset of PRESETS) {
    const button = Object.assign(document.createElement('button'), { type: 'button', textContent: preset });
    button.onclick = () => { $('count').value = preset; connect(); };
    $('presets').append(button);
  }
  $('controls').onsubmit = (event) => { event.preventDefault(); connect(); };
  $('controls').onchange = () => { $('prompt-field').hidden = !isChat(); schedule(); };
  $('less').onclick = () => step(-1);
  $('more').onclick = () => step(1);
  $('disconnect').onclick = disconnect;
  $('clear').onclick = () => log.clear();
  $('pause').oninput = () => text('pause-text', `${$('pause').value} s`);
  $('restart-button').onclick = restartApp;
  $('prompt-field').hidden = !isChat();
  introduce();
  if (asked.get('connect') === '1') connect();
}

function introduce() {
  const current = secure ? 'origin-secure' : 'origin-plain';
  $(current).setAttribute('aria-current', 'page');
  for (const [id, origin] of [['origin-plain', plainOrigin()], ['origin-secure', secureOrigin()]]) {
    $(id).querySelector('span').textContent = new URL(origin).host;
  }
  text('here', `You are on ${protocol} at ${location.host}`);
  text('protocol', protocol);
  document.body.dataset.protocol = limited ? 'h1' : 'h2';
  $('certificate').hidden = secure;
  const app = facts.upstream ? `your app at ${facts.upstream}` : 'the app';
  text('lead', limited
    ? `Open seven streams here: the browser stops at six connections per origin, across all tabs. Then open them over HTTP/2 and all of them run, while ${app} still sees one.`
    : `Here every stream of every tab shares one connection. Open a hundred, open more tabs: ${app} still sees one connection for each stream that they read.`);
  text('version', `Sidestream ${facts.version} · plain ${plainOrigin()} · secure ${secureOrigin()} · control port ${facts.ports.control}`);
  if (facts.upstream) document.querySelector('#station-app .name').textContent = new URL(facts.upstream).host;
}

// ---------------------------------------------------------------- numbers from the control port

/**
 * The control port is an origin of its own, so that six EventSources cannot starve it. A browser
 * that blocks plain loopback from a secure page gets the same through the page's own origin.
 */
const bases = [`http://${location.hostname}:${facts.ports.control}`, ...(secure ? [location.origin] : [])];

async function api(path, options) {
  for (;;) {
    try {
      const signal = AbortSignal.timeout(API_TIMEOUT_MS);
      return await fetch(bases[0] + API + path, { cache: 'no-store', signal, ...options });
    } catch (error) {
      if (bases.length === 1) throw error;
      bases.shift();
    }
  }
}

async function poll() {
  try {
    const answer = await api('state');
    state = await answer.json();
    $('alarm').hidden = true;
  } catch {
    state = null;
    text('alarm', 'The demo does not answer on its control port. Is it still running?');
    $('alarm').hidden = false;
  }
  numbers();
  askTabs();
  setTimeout(poll, POLL_MS);
}

function numbers() {
  const upstream = state?.app?.connections ?? state?.upstream_connections;
  const clients = state?.subscribers;
  const down = state?.app?.up === false;
  text('figure-upstream', upstream ?? '–');
  text('figure-clients', clients ?? '–');
  text('figure-channels', state?.channels ?? '–');
  unit('figure-upstream', upstream, 'upstream connection');
  unit('figure-clients', clients, 'open stream');
  unit('figure-channels', state?.channels, 'channel');
  $('flow').dataset.down = String(down);
  flow.draw(upstream ?? 0, clients ?? 0);
  text('sum', summary(upstream, clients, down));
  if (restart) followRestart();
}

function unit(id, value, word) {
  const element = $(id).nextElementSibling;
  const words = value === 1 ? word : `${word}s`;
  if (element.textContent !== words) element.textContent = words;
}

function summary(upstream, clients, down) {
  if (clients === undefined) return '';
  if (down) return `The app is down. ${many(clients, 'client stays', 'clients stay')} connected and wait for it.`;
  if (!clients) return 'Nobody reads. Sidestream soon lets go of a stream that nobody reads.';
  if (!upstream) return `${many(clients, 'client is', 'clients are')} connected; the app is being asked again.`;
  const each = upstream === 1 ? '' : ', one for each stream and origin';
  return `${many(clients, 'client reads', 'clients read')} ${many(upstream, 'upstream connection')}${each}. Without Sidestream the app would hold ${clients}.`;
}

function many(count, one, more = `${one}s`) {
  return `${count} ${count === 1 ? one : more}`;
}

// ---------------------------------------------------------------- restart

async function restartApp() {
  const before = pool.counts;
  const pause = Number($('pause').value);
  $('restart-button').disabled = true;
  try {
    const answer = await api(`app/restart?pause_ms=${pause * 1000}`, { method: 'POST' });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    restart = { pause, before, starts: state?.app?.starts ?? 0, at: performance.now() };
    log.note(`app killed; it comes back in ${pause} s`);
    text('restart-result', 'The app is down …');
  } catch (error) {
    text('restart-result', `Not restarted: ${error.message}`);
    $('restart-button').disabled = false;
  }
  schedule();
}

/** Done when the app is back and its first new event has come (or nobody listens). */
function followRestart() {
  const { pause, before, starts } = restart;
  if (!state?.app?.up || state.app.starts <= starts) return;
  const counts = pool.counts;
  restart.back ??= counts.events;
  const silent = before.open > 0 && counts.events === restart.back && counts.gaps === before.gaps;
  if (silent && performance.now() - restart.at < pause * 1000 + 15000) return;
  const gaps = counts.gaps > before.gaps ? ', and each was told where events may be missing' : '';
  const errors = counts.errors - before.errors;
  const result = before.open === 0
    ? `The app was away for ${pause} s. Connect some streams and try again.`
    : `The app was away for ${pause} s. ${counts.open} of ${before.open} streams stayed open (${errors || 'no'} onerror)${gaps}.`;
  text('restart-result', result);
  log.note(result);
  restart = null;
  $('restart-button').disabled = false;
  schedule();
}

// ---------------------------------------------------------------- the other tabs of this origin

const tabs = new BroadcastChannel('sidestream-demo');
const me = Math.random().toString(36).slice(2);
const heard = new Map();
const others = { tabs: 0, open: 0 };

/** Asked by whichever tab is visible: timers of hidden tabs are slow, their messages are not. */
function askTabs() {
  const stale = performance.now() - 4 * POLL_MS;
  others.tabs = 0;
  others.open = 0;
  for (const [id, tab] of heard) {
    if (tab.at < stale) { heard.delete(id); continue; }
    others.tabs += 1;
    others.open += tab.open;
  }
  const all = others.tabs + 1;
  text('count-tabs', all === 1 ? '1' : `${all}`);
  text('tabs-label', all === 1 ? 'tab of this origin' : `tabs, ${others.open + pool.counts.open} streams`);
  tabs.postMessage({ ask: me });
}

tabs.onmessage = ({ data }) => {
  if (data.ask) tabs.postMessage({ to: data.ask, from: me, open: pool.counts.open });
  else if (data.to === me) heard.set(data.from, { at: performance.now(), open: data.open });
};

// ---------------------------------------------------------------- go

build();
render();
poll();
api('config').then((answer) => answer.text()).then((yaml) => text('config', yaml), () => {});
