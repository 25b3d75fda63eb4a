/** The third rung: one question after the other, each answered as soon as there is news of any scan. */

import { ofMessage } from "./answers.js";
import { foreign, lossOf, wanted } from "./attempt.js";
import { isObject } from "./patch.js";
import { Lost } from "./requests.js";

/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./attempt.js").Report} Report */
/** @typedef {import("./attempt.js").Tools} Tools */
/** @typedef {import("./pace.js").Turn} Turn */
/** @typedef {import("./patch.js").Plain} Plain */

/** So long the server may wait for news: short, so that a frozen line is noticed. */
export const WAIT_S = 10;
/** After so long without an answer the line is dead: within 15 s, though timers are late. */
export const SILENCE_MS = 14_750;

/** @implements {Attempt} */
export class LongPollAttempt {
  #tools;
  #report;
  /** @type {readonly Followed[]} */
  #followed = [];
  #leaving = new AbortController();
  /** Of the question that is under way. */
  #asking = new AbortController();
  /** Whether the next one is to be answered at once: whether the line is alive is to be known soon. */
  #soon = true;

  /** @param {Tools} tools @param {Report} report */
  constructor(tools, report) {
    this.#tools = tools;
    this.#report = report;
  }

  /** What is new is asked for at once. @param {readonly Followed[]} followed */
  follow(followed) {
    const known = new Set(this.#followed);
    const [first, more] = [!this.#followed.length, followed.some((one) => !known.has(one))];
    this.#followed = followed;
    if (first && more) void this.#askOn();
    else if (more) this.check();
  }

  check() {
    if (this.#soon) return; // what is under way is answered at once, or the line is dead
    this.#soon = true;
    this.#asking.abort();
  }

  close() {
    this.#leaving.abort();
    this.#asking.abort();
  }

  async #askOn() {
    const { signal } = this.#leaving;
    let more = false;
    while (!signal.aborted && this.#followed.length) {
      const asking = (this.#asking = new AbortController()).signal;
      const atOnce = more;
      more = false;
      try {
        const turn = atOnce ? this.#tools.pace.began() : await this.#tools.pace.turn(asking);
        more = await this.#ask(asking, turn);
      } catch (error) {
        if (signal.aborted) return;
        if (asking.aborted) continue; // there is something else to ask for
        const verdict = await lossOf(this.#tools.requests, error, signal).catch(() => null);
        return verdict ? this.#over(verdict) : undefined;
      }
    }
  }

  /** @param {AbortSignal} signal @param {Turn} turn @returns {Promise<boolean>} whether there is more to be had at once */
  async #ask(signal, turn) {
    const { pace, around: { clock }, requests } = this.#tools;
    const [soon, began] = [this.#soon, clock.now()];
    const { body, status } = await requests
      .json("opportunities/follow", {
        method: "POST",
        headers: { Accept: "application/json" },
        body: { follow: wanted(this.#followed), wait: soon ? 0 : WAIT_S },
        timeout: SILENCE_MS,
        signal,
        needs: ["frames"],
      })
      .finally(() => (signal.aborted ? pace.left(turn) : pace.over(turn)));
    if (soon) this.#soon = false;
    this.#report.alive();
    if (!Array.isArray(body.frames) || !body.frames.every(isObject)) throw new Lost(foreign(status));
    const { frames } = body;
    if (soon) this.#report.lag(clock.now() - began);
    for (const message of frames) this.#heard(message);
    return frames.some((/** @type {Plain} */ { more }) => more);
  }

  /** @param {Plain} message */
  #heard(message) {
    if (this.#leaving.signal.aborted) return;
    if (message.type === "error" && message.scan_id === undefined) this.#over(ofMessage(message));
    else this.#report.message(message);
  }

  /** @param {Verdict} verdict */
  #over(verdict) {
    if (this.#leaving.signal.aborted) return;
    this.close();
    this.#report.lost(verdict);
  }
}
