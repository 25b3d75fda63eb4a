/**
 * Which transport is used, when it is tried, and when a better one. Pure: the time and chance are handed in, what
 * happens is told, what to do is read off. docs/javascript.md says the rules; tests/vectors/ladder.json holds them.
 *
 * Times are milliseconds on one clock of the caller's. A *rung* is a transport; the first is the best. An *attempt* is
 * one connection (or one series of requests) over a rung, from `began` to `lost`. Beside the attempt that works there may
 * be one that tries a better rung: a *climb*.
 */

import { pause, SHORTEST_MS } from "./backoff.js";

export const RUNGS = ["websocket", "stream", "longpoll", "poll"];
/** Attempts in a row without a frame that cost a rung. */
export const BARREN = 3;
export const FIRST_CLIMB_MS = 5000;
export const LONGEST_CLIMB_MS = 60_000;
/**
 * From the first of three attempts on a rung to the third: at most two within 500 ms where they arrive, though a busy
 * machine or network brings the first one late.
 */
export const THREE_MS = 750;

/**
 * @typedef {"refused" | "restarting" | "dropped" | "silent" | "no_upgrade" | "crowded"} Why
 *   `refused`: nobody listens; `restarting`: the server said so; `dropped`: any other loss of a connection, also an
 *   answer that is none of ours; `silent`: nothing came for longer than there may be silence; `no_upgrade`: the WebSocket
 *   handshake was answered in HTTP; `crowded`: the browser has no connection to spare for one that stays open.
 * @typedef {{ rung: string, at: number }} Due an attempt, and when it is to begin
 */

export class Ladder {
  #rungs;
  #random;
  #index = 0;
  /** Losses since the last frame. */
  #failures = 0;
  /** Attempts on this rung without a frame, in a row. */
  #barren = 0;
  /** Losses by silence on this rung, in a row. */
  #silences = 0;
  /** Whether this rung has brought a frame since we came to it. */
  #proven = false;
  /** Whether the attempt that is under way has. */
  #brought = false;
  /** The rung that a climb is trying now. @type {string | null} */
  #trying = null;
  #interval = FIRST_CLIMB_MS;
  #climbedAt = -Infinity;
  /** When the last two attempts on each rung began, the newest first. @type {Map<string, number[]>} */
  #begun = new Map();

  /** The attempt to begin on the rung that is used; null while one is under way. @type {Due | null} */
  next = null;
  /** The attempt to begin on a better rung; null on the best, and while one is under way. @type {Due | null} */
  climb = null;
  /** Attempts since the last frame. */
  attempts = 0;

  /**
   * @param {object} given
   * @param {readonly string[]} [given.rungs] the best first
   * @param {() => number} given.random from 0 to 1; asked once for each pause
   */
  constructor({ rungs = RUNGS, random }) {
    this.#rungs = rungs;
    this.#random = random;
  }

  /** The rung that is used. */
  get rung() {
    return this.#rungs[this.#index];
  }

  /** A connection is wanted from now on: at first, and after `stop`. @param {number} at */
  start(at) {
    this.stop();
    this.#failures = 0;
    this.next = this.#due(this.rung, at);
    if (this.#index > 0) this.climb = this.#due(this.#rungs[0], at + this.#interval);
  }

  /** No connection is wanted: what was under way is given up. */
  stop() {
    this.next = this.climb = this.#trying = null;
    this.attempts = 0;
  }

  /** The attempt that was due begins. @param {string} rung @param {number} at */
  began(rung, at) {
    this.#begun.set(rung, [at, ...(this.#begun.get(rung) ?? [])].slice(0, 2));
    if (rung === this.rung) {
      this.next = null;
      this.#brought = false;
      this.attempts += 1;
    } else {
      this.climb = null;
      this.#trying = rung;
    }
  }

  /** A snapshot, an update or the end came: what brings one is proven. @param {string} rung @param {number} at */
  frame(rung, at) {
    if (rung === this.#trying) {
      this.#trying = null;
      this.#climbedAt = at;
      this.#stand(this.#rungs.indexOf(rung));
      this.next = null;
      this.climb = this.#index > 0 ? this.#due(this.#rungs[0], at + FIRST_CLIMB_MS) : null;
    } else if (rung !== this.rung) return;
    this.#failures = this.#barren = this.attempts = 0;
    this.#proven = this.#brought = true;
  }

  /**
   * The attempt on this rung is over.
   * @param {string} rung
   * @param {Why} why
   * @param {number} at
   * @param {number} [retryAfter] seconds that the server asked for
   */
  lost(rung, why, at, retryAfter) {
    if (rung === this.#trying) this.#climbFailed(rung, why, at);
    else if (rung === this.rung) this.#workingLost(why, at, retryAfter);
  }

  /** The network is back, or somebody looks: no pause is waited out. @param {number} at */
  online(at) {
    this.#failures = 0;
    if (this.next) this.next = this.#due(this.next.rung, at);
    if (this.climb) this.climb = this.#due(this.climb.rung, at);
  }

  /** @param {string} rung @param {Why} why @param {number} at */
  #climbFailed(rung, why, at) {
    this.#trying = null;
    const below = this.#rungs.indexOf(rung) + 1;
    if (why !== "refused" && below < this.#index) {
      this.climb = this.#due(this.#rungs[below], at);
      return;
    }
    this.#interval = Math.min(LONGEST_CLIMB_MS, this.#interval * 2);
    this.climb = this.#due(this.#rungs[0], at + this.#interval);
  }

  /** @param {Why} why @param {number} at @param {number} [retryAfter] */
  #workingLost(why, at, retryAfter = 0) {
    if (this.#costs(why) && this.#index + 1 < this.#rungs.length) {
      this.#stepDown(at);
      this.next = this.#due(this.rung, at + 1000 * retryAfter);
      return;
    }
    this.#failures += 1;
    this.next = this.#due(this.rung, at + pause(this.#failures, this.#random, retryAfter));
  }

  /** Whether this loss costs the rung. @param {Why} why */
  #costs(why) {
    if (why === "refused" || why === "restarting") return false;
    if (why === "no_upgrade" || why === "crowded") return true;
    if (!this.#brought) this.#barren += 1;
    this.#silences = why === "silent" ? this.#silences + 1 : 0;
    return this.#barren >= BARREN || (this.#silences > 0 && !this.#proven) || this.#silences > 1;
  }

  /** The first try to come back is soon, unless the last one was for nothing. @param {number} at */
  #stepDown(at) {
    const inVain = at - this.#climbedAt < LONGEST_CLIMB_MS;
    this.#interval = inVain ? Math.min(LONGEST_CLIMB_MS, this.#interval * 2) : FIRST_CLIMB_MS;
    this.#climbedAt = -Infinity;
    this.#stand(this.#index + 1);
    if (!this.#trying) this.climb = this.#due(this.#rungs[0], at + this.#interval);
  }

  /** @param {number} index */
  #stand(index) {
    this.#index = index;
    this.#barren = this.#silences = 0;
    this.#proven = this.#brought = false;
  }

  /** As soon after `at` as attempts on this rung may follow each other. @param {string} rung @param {number} at */
  #due(rung, at) {
    const [last = -Infinity, before = -Infinity] = this.#begun.get(rung) ?? [];
    return { rung, at: Math.max(at, last + SHORTEST_MS, before + THREE_MS) };
  }
}
