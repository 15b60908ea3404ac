// The sidestream binary under test.

import { fileURLToPath } from 'node:url';

import { Child } from './child.mjs';

const BUILT = fileURLToPath(new URL('../../target/debug/sidestream', import.meta.url));

/** Starts it with these arguments. */
export const spawnSidestream = (...args) =>
  new Child('sidestream', process.env.SIDESTREAM_BIN ?? BUILT, args);

/**
 * Starts `sidestream run` and resolves once it says that it is ready: on a port that it did not get,
 * somebody else would answer.
 */
export async function runSidestream(configFile) {
  const child = spawnSidestream('run', '--config', configFile);
  await child.untilReady(() => child.output.includes('"message":"ready"'));
  return child;
}
