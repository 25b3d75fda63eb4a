/** Requests of one kind that must stay apart, whoever makes them and whatever becomes of them. */

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

  /** As soon after this time as the next may be made: 250 ms after the last one, 750 after the one before. @param {number} at */
  due(at) {
    const [last, before] = this.#times;
    return Math.max(at, last + SHORTEST_MS, before + THREE_MS);
  }

  /** One is made, due or not. */
  began(at = this.#clock.now()) {
    this.#times = [at, this.#times[0]];
  }

  /** The last one is over: it has arrived at some time until now, which may be long after it was made. */
  answered() {
    this.#times[0] = Math.max(this.#times[0], this.#clock.now()); // a turn that was given to others stays theirs
  }

  /** Waits until the next may be made; it is made then. @param {AbortSignal} [signal] */
  async turn(signal) {
    const now = this.#clock.now();
    const at = this.due(now);
    this.began(at);
    if (at > now) await wait(this.#clock, at - now, signal);
  }
}
