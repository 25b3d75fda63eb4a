/** Requests of one kind that must stay apart, whoever makes them and whatever becomes of them. */

import { wait } from "./clock.js";
import { SHORTEST_MS } from "./backoff.js";
import { THREE_MS } from "./ladder.js";

/** Two that nobody waits for may both be on their way for so long, where a browser or a network is busy. */
const HELD_UP_MS = 2000;

/** @typedef {import("./clock.js").Clock} Clock */
/**
 * @typedef {object} Turn one request
 * @property {number} at when it was made, or, as soon as that is known, by when it has arrived
 * @property {boolean} left whether nobody waits for its answer, so that only that of a later one tells
 */

export class Pace {
  #clock;
  /** The last two that were let through, the newest first. @type {[Turn, Turn]} */
  #turns = [{ at: -Infinity, left: false }, { at: -Infinity, left: false }];

  /** @param {Clock} clock */
  constructor(clock) {
    this.#clock = clock;
  }

  /**
   * As soon after this time as the next may be made: 250 ms after the last one, 750 after the one before; later where
   * nothing is known of either.
   * @param {number} at
   */
  due(at) {
    const [last, before] = this.#turns;
    return Math.max(at, last.at + SHORTEST_MS, before.at + (last.left && before.left ? HELD_UP_MS : THREE_MS));
  }

  /** One is made, due or not. @returns {Turn} */
  began(at = this.#clock.now()) {
    const turn = { at, left: false };
    this.#turns = [turn, this.#turns[0]];
    return turn;
  }

  /** Nobody waits for its answer any more. @param {Turn} turn */
  left(turn) {
    turn.left = true;
  }

  /**
   * This one is over, answered or lost: it has arrived at some time until now, which may be long after it was made. So
   * have those before it that nobody waits for: a browser sends them in their order, however long it holds them up.
   * @param {Turn} turn
   */
  over(turn) {
    const now = this.#clock.now();
    for (const one of this.#turns) {
      if (one === turn || (one.left && one.at <= now)) [one.at, one.left] = [now, false];
    }
  }

  /** Waits until the next may be made; it is made then. @param {AbortSignal} [signal] @returns {Promise<Turn>} */
  async turn(signal) {
    const now = this.#clock.now();
    const turn = this.began(this.due(now));
    if (turn.at > now) await wait(this.#clock, turn.at - now, signal);
    turn.at = Math.max(turn.at, this.#clock.now()); // timers are late where a machine is busy
    return turn;
  }
}
