/** The last rung: the state of each scan, asked for at the interval that the server wants. */

import { foreign, lossOf } from "./attempt.js";
import { retryAfterOf } from "./backoff.js";
import { wait } from "./clock.js";
import { Lost } from "./requests.js";

/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./attempt.js").Report} Report */
/** @typedef {import("./attempt.js").Tools} Tools */
/** @typedef {import("./pace.js").Turn} Turn */
/** @typedef {import("./patch.js").Plain} Plain */

/** Where the server does not say. */
const INTERVAL_S = 1;
const ENVELOPE = new Set(["cursor", "opportunities", "offset", "more", "skipped", "partial_results", "rank"]);

/** @implements {Attempt} */
export class PollAttempt {
  #tools;
  #report;
  /** @type {readonly Followed[]} */
  #followed = [];
  /** When each is to be asked about. @type {Map<Followed, number>} */
  #due = new Map();
  /** What was told of those that want the state only. @type {Map<Followed, string>} */
  #tags = new Map();
  #leaving = new AbortController();
  #pausing = new AbortController();

  /** @param {Tools} tools @param {Report} report */
  constructor(tools, report) {
    this.#tools = tools;
    this.#report = report;
  }

  /** @param {readonly Followed[]} followed */
  follow(followed) {
    const first = !this.#followed.length && followed.length > 0;
    this.#followed = followed;
    for (const one of this.#due.keys()) if (!followed.includes(one)) this.#due.delete(one);
    if (first) void this.#askOn();
    else this.#pausing.abort();
  }

  check() {
    this.#due.clear();
    this.#pausing.abort();
  }

  close() {
    this.#leaving.abort();
    this.#pausing.abort();
  }

  async #askOn() {
    const { clock } = this.#tools.around;
    const { signal } = this.#leaving;
    try {
      while (this.#followed.length && !signal.aborted) {
        const [followed, at] = this.#next();
        this.#pausing = new AbortController();
        await wait(clock, at - clock.now(), this.#pausing.signal).catch(() => {}); // something else may be due now
        if (signal.aborted) return;
        if (clock.now() < at || !this.#followed.includes(followed)) continue;
        const turn = await this.#tools.pace.turn(signal); // whatever they are about: fewer than five a second
        await this.#ask(followed, signal, turn);
      }
    } catch (error) {
      if (signal.aborted) return;
      const verdict = await lossOf(this.#tools.requests, error, signal).catch(() => null);
      if (!verdict || signal.aborted) return;
      this.close();
      this.#report.lost(verdict);
    }
  }

  /** Whose turn it is, and when. @returns {[Followed, number]} */
  #next() {
    const due = this.#followed.map((one) => /** @type {[Followed, number]} */ ([one, this.#due.get(one) ?? -Infinity]));
    return due.reduce((first, other) => (other[1] < first[1] ? other : first));
  }

  /** @param {Followed} followed @param {AbortSignal} signal @param {Turn} turn */
  async #ask(followed, signal, turn) {
    const { clock } = this.#tools.around;
    const { scanId, cursor, only } = followed;
    const plain = only === "state" || cursor === null;
    const tag = plain ? this.#tags.get(followed) : undefined;
    const path = `opportunities/status/${encodeURIComponent(scanId)}`;
    const query = plain ? (only === "state" ? "" : "?since=") : `?since=${encodeURIComponent(cursor)}`;
    const began = clock.now();
    try {
      const headers = /** @type {Record<string, string>} */ (tag ? { "If-None-Match": tag } : {});
      const answer = await this.#tools.requests
        .json(path + query, { headers, signal, needs: ["scan_id", "status", "cursor"] })
        .finally(() => this.#tools.pace.over(turn));
      if (answer.body && answer.body.scan_id !== scanId) throw new Lost(foreign(answer.status)); // somebody's cache
      this.#report.lag(clock.now() - began);
      this.#report.alive();
      if (!this.#followed.includes(followed)) return; // it is asked for in another way now
      const seconds = answer.body?.more ? 0 : retryAfterOf(answer.headers) ?? INTERVAL_S;
      this.#due.set(followed, clock.now() + 1000 * seconds);
      this.#tags.set(followed, answer.headers.get("ETag") ?? "");
      if (answer.body) for (const frame of framesOf(answer.body, followed)) this.#report.message(frame);
    } catch (error) {
      if (!(error instanceof Lost) || error.verdict.why !== null || !absent(error.verdict.error.code)) throw error;
      const { code, detail } = error.verdict.error;
      this.#report.message({ type: "error", scan_id: scanId, code, detail });
    }
  }
}

/** What is said of one scan, while the others go on. @param {string} code */
const absent = (code) => ["not_found", "expired", "damaged"].includes(code);

/**
 * A status answer as the frames that the other rungs would have brought.
 * @param {Plain} body
 * @param {Followed} followed
 * @returns {Plain[]}
 */
export function framesOf(body, { scanId, cursor: held }) {
  const state = Object.fromEntries(Object.entries(body).filter(([key]) => !ENVELOPE.has(key)));
  const { cursor, opportunities = [], offset = 0, more = false } = body;
  const anew = held === null || epochOf(held) !== epochOf(cursor) || (offset === 0 && !held.endsWith(".0"));
  const news = { scan_id: scanId, cursor, opportunities, offset, more };
  const frame = anew ? { type: "snapshot", state, ...news } : { type: "update", patch: state, ...news };
  const over = state.status !== "scanning" && !more;
  return over ? [frame, { type: "end", scan_id: scanId, cursor, status: state.status }] : [frame];
}

/** @param {string} cursor */
const epochOf = (cursor) => cursor.split("-")[0];
