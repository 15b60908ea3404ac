// What a crowded machine adds to times that a test measures.

import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Who does what is due and who sees it wait for the processor in turn, not only the loop that is watched. */
const TURNS = 4;

/**
 * Watches from now on. The function returned ends that: how many milliseconds late anybody may have
 * done what was due, at most.
 */
export function watchLateness() {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  return () => {
    delay.disable();
    return (TURNS * Math.max(0, delay.max)) / 1e6;
  };
}
