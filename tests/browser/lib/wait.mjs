// Waiting for conditions. Nothing in these tests waits for a time to pass and then hopes.

const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 60_000);

/** Resolves with the first truthy value of `condition`; `what` (text or function) names it in the error. */
export async function until(what, condition, { timeoutMs = PATIENCE_MS, everyMs = 50 } = {}) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms for: ${typeof what === 'function' ? await what() : what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
