// A child process with its output kept, ended by its own pid and never by a name.

import { spawn } from 'node:child_process';

import { until } from './wait.mjs';

const TAIL_CHARACTERS = 200_000;
const running = new Set();

// A test that fails half way must not leave processes behind.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export class Child {
  /** `{code, signal}` once it is gone. */
  exit = null;
  /** The end of what it printed on either stream. */
  output = '';

  constructor(name, command, args, { env = {}, onStdout } = {}) {
    this.name = name;
    this.process = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(this.process);
    const keep = (bytes) => {
      this.output = (this.output + bytes).slice(-TAIL_CHARACTERS);
    };
    this.process.stdout.on('data', onStdout ?? keep);
    this.process.stderr.on('data', keep);
    this.process.on('error', (error) => this.#gone({ code: null, signal: null, error }));
    this.process.on('close', (code, signal) => this.#gone({ code, signal }));
  }

  #gone(exit) {
    this.exit ??= exit;
    running.delete(this.process);
  }

  get pid() {
    return this.process.pid;
  }

  /** Sends a signal and waits until the process is gone. */
  async stop(signal = 'SIGTERM', { timeoutMs } = {}) {
    if (!this.exit) {
      this.process.kill(signal);
      await until(`${this.name} to exit on ${signal}`, () => this.exit, { timeoutMs });
    }
    return this.exit;
  }

  /** As `stop`, of a process that is to leave in good order. */
  async end(signal = 'SIGTERM', options) {
    const { code, signal: killer, error } = await this.stop(signal, options);
    if (code !== 0) {
      throw new Error(`${this.name} exited with ${error ?? killer ?? code}; its output:\n${this.output}`);
    }
  }

  /** Waits until it has left by itself, in good order. */
  async left() {
    await until(() => `${this.name} to exit; its output:\n${this.output}`, () => this.exit);
    await this.end();
  }

  /** Waits for what `ready` finds; fails at once, with the output, when the process exits before. */
  async untilReady(ready) {
    const describe = () => `${this.name} to be ready; its output:\n${this.output}`;
    return until(describe, async () => {
      if (this.exit) throw new ExitedEarly(this);
      return ready();
    });
  }
}

export class ExitedEarly extends Error {
  constructor(child) {
    const { code, signal, error } = child.exit;
    super(`${child.name} exited (${error ?? signal ?? code}); its output:\n${child.output}`);
    this.output = child.output;
  }
}
