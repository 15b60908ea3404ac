// The nghttp command, which shows each frame, and between them what the DATA held.

import { Child } from '../../node/child.mjs';

/** A frame, or a field of a head, as `nghttp -v` prints it; the lines behind it are indented. */
const SHOWN =
  /\[ *\d+\.\d{3}\] (?:(send|recv) ([A-Z_]+) frame <length=(\d+), [^>]*stream_id=(\d+)>|.*)\n((?: {10}.*\n)*)/g;

/** What each stream got: `{path, bytes, longest}`, the longest frame among it. */
function streamsOf(output) {
  const streams = new Map();
  let data = '';
  let from = 0;
  for (const { index, 0: shown, 1: way, 2: kind, 3: length, 4: id, 5: details } of output.matchAll(SHOWN)) {
    // Before the first request it tells of the connection.
    if (streams.size > 0) data += output.slice(from, index);
    from = index + shown.length;
    if (way === 'send' && kind === 'HEADERS') {
      streams.set(id, { path: / :path: (.*)\n/.exec(details)[1], parts: [], longest: 0 });
    } else if (way === 'recv' && kind === 'DATA') {
      if (data.length !== Number(length)) throw new Error(`${data.length} bytes in: ${shown}`);
      const stream = streams.get(id);
      stream.parts.push(data);
      stream.longest = Math.max(stream.longest, data.length);
      data = '';
    }
  }
  return [...streams.values()].map(({ path, parts, longest }) => ({
    path,
    bytes: Buffer.from(parts.join(''), 'latin1'),
    longest,
  }));
}

/** Asks for each path so many times, all at once on one connection. */
export class Nghttp {
  #output = [];

  constructor(origin, paths, { times = 1, flags = [] }) {
    const urls = paths.map((path) => origin + path);
    const args = ['-v', '--no-dep', '--no-verify-peer', `--multiply=${times}`, ...flags, ...urls];
    this.child = new Child('nghttp', 'nghttp', args, { onStdout: (bytes) => this.#output.push(bytes) });
  }

  /** What its streams got, once all of them have ended. */
  async streams() {
    await this.child.left();
    return streamsOf(Buffer.concat(this.#output).toString('latin1'));
  }
}
