// Subscribers that read one feed, for teams that have k6 already. It counts events and their order;
// what `loadtest` adds is every byte checked, latency at a hundred times the subscribers, and the
// server's own CPU and memory.
//
//   ./k6 run -e URL=http://127.0.0.1:8080/events -e VUS=200 -e SECONDS=30 loadtest/k6/fan-out.js

import sse from 'k6/x/sse';
import { Counter, Trend } from 'k6/metrics';

const url = __ENV.URL || 'http://127.0.0.1:8080/events';
const vus = Number(__ENV.VUS || 200);
const seconds = Number(__ENV.SECONDS || 30);

const readers = new Counter('sse_readers');
const events = new Counter('sse_events');
const gaps = new Counter('sse_gaps');
const lost = new Counter('sse_lost');
const doubled = new Counter('sse_doubled');
const errors = new Counter('sse_errors');
// Milliseconds between two events of a subscriber: its p99 shows a stall.
const between = new Trend('sse_between', true);

export const options = {
  scenarios: {
    // The end of the test ends the streams: a close() of the extension reads a stream to its end,
    // and these have none.
    subscribers: { executor: 'constant-vus', vus, duration: `${seconds}s`, gracefulStop: '0s' },
  },
  thresholds: {
    // Each subscriber once: fewer got nothing, more had to connect again.
    sse_readers: [`count==${vus}`],
    sse_lost: ['count==0'],
    sse_doubled: ['count==0'],
    sse_gaps: ['count==0'],
  },
};

// k6 judges only metrics that have a value.
export function setup() {
  for (const metric of [readers, lost, doubled, gaps]) metric.add(0);
}

/** The number that an event of `loadtest app` carries; of any other event nothing is known. */
function numberOf(data) {
  const found = /"seq":(\d+)/.exec(data);
  return found ? Number(found[1]) : null;
}

export default function subscribe() {
  let last = null;
  let before = null;
  let announced = false;

  sse.open(url, { headers: { Accept: 'text/event-stream' } }, (client) => {
    client.on('event', (event) => {
      // A comment belongs to no event, and the extension hands it out with the next one.
      if (event.name === 'sidestream-gap' || event.comment.startsWith('sidestream-gap')) {
        announced = true;
        gaps.add(1);
      }
      if (!event.data || event.name === 'sidestream-gap') return;
      const now = Date.now();
      if (before === null) readers.add(1);
      else between.add(now - before);
      before = now;
      events.add(1);

      const number = numberOf(event.data);
      if (number === null) return;
      if (last !== null && number <= last) doubled.add(1);
      if (last !== null && number > last + 1 && !announced) lost.add(number - last - 1);
      announced = false;
      last = number;
    });
    client.on('error', () => errors.add(1));
  });
}
