/** Requests of one kind that must stay apart. */

import { wait } from "./clock.js";
import { SHORTEST_MS } from "./backoff.js";
import { THREE_MS } from "./ladder.js";

/** @typedef {import("./clock.js").Clock} Clock */

export class Pace {
  #clock;
  /** When the last two were let through, the newest first. */
  #times = [-Infinity, -Infinity];

  /** @param {Clock} clock */
  constructor(clock) {
    this.#clock = clock;
  }

  /**
   * Waits until the next may be made: 250 ms after the last one, 600 after the one before.
   * @param {AbortSignal} [signal]
   */
  async turn(signal) {
    const [last, before] = this.#times;
    const now = this.#clock.now();
    const at = Math.max(now, last + SHORTEST_MS, before + THREE_MS);
    this.#times = [at, last];
    if (at > now) await wait(this.#clock, at - now, signal);
  }
}
