// Events that are easy to get wrong, in the shape NestJS calls MessageEvent: `{type?, data}`.

/** Every named type that the tests send: EventSource needs to know them beforehand. */
export const TYPES = ['update', 'sidestream-gap'];

export const TRICKY = [
  { data: 'plain' },
  { data: '{"msg":"aaa","n":1}' },
  { data: 'two\nlines' },
  { data: 'an empty line\n\nin the middle' },
  { data: 'ends with a line feed\n' },
  { data: '\nbegins with one' },
  { data: ' a leading space' },
  { data: '  two, and one behind ' },
  { data: ': looks like a comment' },
  { data: 'data: looks like a field' },
  { data: 'id: 7\nevent: x\nretry: 1' },
  { type: 'update', data: 'a named event' },
  { data: 'žluťoučký kůň 🐎 漢字' },
  { data: 'not line ends: \u2028 \u2029 \u0085 \u000b \u000c' },
  { data: '\ufeffa byte order mark inside' },
  { data: 'a NUL \0 inside' },
  { data: 'x'.repeat(100_000) },
  { data: Array.from({ length: 500 }, (_, n) => `line ${n}`).join('\n') },
];

/** `count` small events numbered from `from`. */
export function numberedEvents(count, { from = 0, label = 'n' } = {}) {
  return Array.from({ length: count }, (_, n) => ({ data: `${label}-${from + n}` }));
}
