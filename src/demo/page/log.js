// The event log. The same event at 60 readers is one line with "×60": that is the fan-out, told
// once. Lines are bounded, and written to the document in batches.

const LINES_MAX = 250;
/** State changes of readers within this time make one line. */
const MERGE_MS = 1200;

const clock = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false, fractionalSecondDigits: 3,
});

/** 1,2,3,5 -> "#1–3, #5". */
export function ranges(numbers) {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  const parts = [];
  for (let i = 0; i < sorted.length; i += 1) {
    const first = sorted[i];
    while (sorted[i + 1] === sorted[i] + 1) i += 1;
    parts.push(first === sorted[i] ? `#${first}` : `#${first}–${sorted[i]}`);
  }
  return parts.length > 6 ? `${parts.slice(0, 6).join(', ')} …` : parts.join(', ');
}

export class Log {
  constructor(list) {
    this.list = list;
    this.lines = [];
    this.byKey = new Map();
    this.dirty = new Set();
  }

  /** An event at a reader; equal ones (same id, type and data) share a line. */
  event(reader, kind, event) {
    const key = `${reader.url}\n${event.type}\n${event.lastEventId}\n${event.data}`;
    let line = this.byKey.get(key);
    // Without ids two equal events would melt into one line: a reader that has it already starts anew.
    if (!line || line.readers.has(reader)) {
      line = this.add({ kind, type: event.type, id: event.lastEventId, text: event.data, key });
    }
    line.readers.add(reader);
    this.dirty.add(line);
  }

  /** A reader's onopen or onerror. */
  state(reader, kind, text) {
    let line = this.lines.at(-1);
    const fits = line && line.kind === kind && line.text === text && performance.now() - line.born < MERGE_MS;
    if (!fits) line = this.add({ kind, type: kind === 'open' ? 'onopen' : 'onerror', text });
    line.numbers.push(reader.number);
    this.dirty.add(line);
  }

  /** A line of the page itself. */
  note(text) {
    this.dirty.add(this.add({ kind: 'note', type: 'page', text }));
  }

  add(fields) {
    const line = {
      ...fields, at: clock.format(Date.now()), born: performance.now(),
      readers: new Set(), numbers: [], row: null,
    };
    this.lines.push(line);
    if (line.key) this.byKey.set(line.key, line);
    if (this.lines.length > LINES_MAX) this.forget(this.lines.shift());
    return line;
  }

  forget(line) {
    if (this.byKey.get(line.key) === line) this.byKey.delete(line.key);
    this.dirty.delete(line);
    line.row?.remove();
  }

  clear() {
    for (const line of this.lines.splice(0)) this.forget(line);
  }

  /** Writes what changed; newest first. */
  flush() {
    for (const line of this.dirty) {
      if (!line.row) {
        line.row = row(line);
        this.list.prepend(line.row);
      }
      line.row.querySelector('.who').textContent = line.numbers.length
        ? ranges(line.numbers)
        : line.readers.size ? `×${line.readers.size}` : '';
    }
    this.dirty.clear();
  }
}

function row(line) {
  const item = document.createElement('li');
  item.dataset.kind = line.kind;
  const part = (tag, name, text) => {
    const element = document.createElement(tag);
    element.className = name;
    element.textContent = text;
    item.append(element);
  };
  part('time', 'at', line.at);
  part('span', 'type', line.type);
  part('span', 'id', line.id ? `id ${line.id}` : '');
  part('span', 'who', '');
  part('span', 'text', line.text);
  return item;
}
