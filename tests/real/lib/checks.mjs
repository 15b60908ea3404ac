// What must hold for a subscriber.

import assert from 'node:assert/strict';

import { until } from '../../node/wait.mjs';

const asIs = (data) => data;

/** `got` is what a client saw of `sent`: types and data, neither more nor less. */
export function assertSeen({ sees = asIs } = {}, got, sent) {
  const expected = sent.map(({ type = 'message', data }) => ({ type, data: sees(data) }));
  assert.deepEqual(
    got.map(({ type, data }) => ({ type, data })),
    expected,
  );
}

/** Waits until there are as many events as in `sent`, then checks that they are those, without a gap. */
export async function exactly(client, reading, sent) {
  const { events } = reading;
  const state = () => `${sent.length} events; there are ${events.length}`;
  await until(state, () => events.length >= sent.length);
  assertSeen(client, events, sent);
  assert.deepEqual(reading.gaps, []);
}

/** Ids of ours are `epoch-sequence`: one epoch, and sequences that only grow. */
export function assertLocalIds(events) {
  const ids = events.map(({ id }) => /^([0-9A-Za-z]+)-(\d+)$/.exec(id) ?? assert.fail(`id ${id}`));
  assert.ok(new Set(ids.map(([, epoch]) => epoch)).size <= 1, 'one epoch');
  const sequences = ids.map(([, , sequence]) => Number(sequence));
  assert.ok(
    sequences.every((sequence, at) => at === 0 || sequence > sequences[at - 1]),
    `sequences grow: ${sequences}`,
  );
}

/** Every one of `readings` saw the same: events with their ids, and is still on its first connection. */
export function assertAllAlike(readings) {
  const [first] = readings;
  for (const reading of readings) {
    assert.equal(reading.ended, null, 'still open');
    assert.equal(reading.opens, 1, 'opened once');
    assert.deepEqual(reading.events, first.events);
  }
}
