// How a ConfigMap comes into a container: as a folder whose `..data` is swapped, or by `subPath`, as a
// mount of a single file.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import { runSidestream, spawnSidestream } from '../node/sidestream.mjs';
import { until } from '../node/wait.mjs';

const FILE = 'sidestream.yaml';

let folder;
let sidestream;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestream-files-'));
});

afterEach(async () => {
  await sidestream?.stop('SIGKILL');
  rmSync(folder, { recursive: true });
});

const source = (threads) => JSON.stringify({
  version: 1,
  listeners: [{ address: `unix:${folder}/web.sock` }],
  admin: { address: `unix:${folder}/admin.sock` },
  upstreams: { app: 'http://127.0.0.1:3000' },
  routes: [{ path: '/{*rest}', action: 'proxy' }],
  log: { format: 'json' },
  threads,
});

/** As the kubelet does: a new folder, and a rename that swaps it in. */
function publish(volume, name, content) {
  mkdirSync(join(volume, name));
  writeFileSync(join(volume, name, FILE), content);
  symlinkSync(name, join(volume, '..data_tmp'));
  renameSync(join(volume, '..data_tmp'), join(volume, '..data'));
}

/** A mounted ConfigMap. */
function configMap() {
  const volume = join(folder, 'volume');
  mkdirSync(volume);
  publish(volume, '..1', source(1));
  symlinkSync(join('..data', FILE), join(volume, FILE));
  return volume;
}

/** What `/readyz` says to people. */
async function notes(file) {
  const asked = spawnSidestream('healthcheck', 'ready', '--config', file);
  await until('an answer', () => asked.exit);
  return JSON.parse(asked.output).notes;
}

test('a ConfigMap that changes is noticed', async () => {
  const volume = configMap();
  const file = join(volume, FILE);
  sidestream = await runSidestream(file);
  assert.deepEqual(await notes(file), []);
  publish(volume, '..2', source(2));
  await until('the note', async () => (await notes(file)).includes('restart needed: threads'));
  publish(volume, '..3', source(1));
  await until('no note', async () => (await notes(file)).length === 0);
});

test('a file that is mounted by subPath is told of', async () => {
  const volume = configMap();
  const file = join(folder, 'mounted.yaml');
  writeFileSync(file, '');
  execFileSync('mount', ['--bind', join(volume, FILE), file]);
  try {
    sidestream = await runSidestream(file);
    const said = `${file} is itself a mount (a subPath`;
    const told = await notes(file);
    assert.ok(told.length === 1 && told[0].startsWith(said), `${told}`);
    assert.ok(sidestream.output.includes(said), sidestream.output);
  } finally {
    await sidestream?.stop('SIGKILL');
    execFileSync('umount', [file]);
  }
});
