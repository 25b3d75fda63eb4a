/** Time, as the library needs it: handed in, so that tests may have one of their own. */

/**
 * @typedef {object} Clock
 * @property {() => number} now milliseconds; never goes back
 * @property {(ms: number, call: () => void) => () => void} after calls once, unless what it returns is called before
 */

/** Beyond this `setTimeout` fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** @type {Clock} */
export const CLOCK = {
  now: () => performance.now(),
  after(ms, call) {
    const timer = setTimeout(call, Math.max(0, Math.min(LONGEST_TIMER_MS, ms)));
    return () => clearTimeout(timer);
  },
};

/**
 * Waits, unless the signal says to leave.
 * @param {Clock} clock
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>} rejects with the signal's reason
 */
export function wait(clock, ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const leave = () => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = clock.after(ms, () => {
      signal?.removeEventListener("abort", leave);
      resolve();
    });
    signal?.addEventListener("abort", leave, { once: true });
  });
}

/**
 * A signal that is aborted with another one, or after a time; `done` lets go of both.
 * @param {Clock} clock
 * @param {number} ms
 * @param {AbortSignal} [signal]
 */
export function deadline(clock, ms, signal) {
  const controller = new AbortController();
  const leave = () => controller.abort(signal?.reason);
  if (signal?.aborted) leave();
  signal?.addEventListener("abort", leave, { once: true });
  const over = { reached: false };
  const cancel = clock.after(ms, () => {
    over.reached = true;
    controller.abort(new Error(`no answer within ${ms / 1000} s`));
  });
  const done = () => {
    cancel();
    signal?.removeEventListener("abort", leave);
  };
  return { signal: controller.signal, over, done };
}
