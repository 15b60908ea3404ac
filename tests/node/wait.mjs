// Waiting for conditions. Nothing in these tests waits for a time to pass and then hopes.

const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 60_000);

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Resolves with the first truthy value of `condition`, sync or async.
 * `what` is a text or a function that says how things stand; it ends up in the error.
 */
export async function until(what, condition, { timeoutMs = PATIENCE_MS, everyMs = 20 } = {}) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) {
      const state = typeof what === 'function' ? await what() : what;
      throw new Error(`waited ${timeoutMs} ms for: ${state}`);
    }
    await pause(everyMs);
  }
}
