// The EventSources of this tab: opening, closing, counting. Knows nothing of the document.

export const GAP = 'sidestream-gap';

/** One EventSource and what became of it. */
export class Reader {
  constructor(number, url, report) {
    this.number = number;
    this.url = url;
    this.events = 0;
    this.errors = 0;
    this.gaps = 0;
    this.opened = false;
    this.done = false;
    this.text = '';
    this.report = report;
    const source = new EventSource(url);
    this.source = source;
    source.onopen = () => { this.opened = true; report(this, 'open'); };
    source.onerror = () => { this.errors += 1; report(this, 'error'); };
    source.onmessage = (event) => { this.events += 1; report(this, 'event', event); };
    // A named event: `onmessage` never sees it, so a page that does not know of gaps stays as it was.
    source.addEventListener(GAP, (event) => { this.gaps += 1; report(this, 'gap', event); });
    source.addEventListener('done', (event) => {
      this.done = true;
      source.close();
      report(this, 'done', event);
    });
  }

  /** pending: never opened yet; again: lost and coming back; closed: given up; done: all read. */
  get state() {
    if (this.done) return 'done';
    if (this.source.readyState === EventSource.OPEN) return 'open';
    if (this.source.readyState === EventSource.CLOSED) return 'closed';
    return this.opened ? 'again' : 'pending';
  }

  close() {
    this.source.close();
  }
}

/** All readers of this tab, numbered from 1. */
export class Pool {
  constructor(report) {
    this.readers = [];
    this.report = report;
  }

  /** Opens or closes until `count` readers are on `url`; readers of another stream are replaced. */
  resize(count, url) {
    if (this.readers.some((reader) => reader.url !== url || reader.done)) this.clear();
    while (this.readers.length > count) this.readers.pop().close();
    while (this.readers.length < count) {
      this.readers.push(new Reader(this.readers.length + 1, url, this.report));
    }
  }

  clear() {
    for (const reader of this.readers.splice(0)) reader.close();
  }

  get counts() {
    const counts = { open: 0, pending: 0, again: 0, closed: 0, done: 0, events: 0, errors: 0, gaps: 0 };
    for (const reader of this.readers) {
      counts[reader.state] += 1;
      counts.events += reader.events;
      counts.errors += reader.errors;
      counts.gaps += reader.gaps;
    }
    return counts;
  }
}
