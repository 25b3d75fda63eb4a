/** The second rung: the events of all scans over one answer, read by `fetch`. */

import { ofHttp, ofMessage } from "./answers.js";
import { retryAfterOf } from "./backoff.js";
import { foreign, lossOf, QUIET_MS, silence, stuck, wanted } from "./attempt.js";
import { Unreachable } from "./errors.js";
import { EventReader } from "./events.js";
import { isObject } from "./patch.js";
import { ANSWER_MS, jsonOf, Lost } from "./requests.js";

/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./attempt.js").Report} Report */
/** @typedef {import("./attempt.js").Tools} Tools */

/** The server sends a comment each 5 s; after so long without any byte the line is dead. */
export const SILENCE_MS = 12_000;
const OVERDUE_MS = 1000;
/** Other events are not ours to read: a later version's, or a proxy's. */
const KNOWN = new Set(["snapshot", "update", "end", "error"]);

/** @implements {Attempt} */
export class StreamAttempt {
  #tools;
  #report;
  /** @type {readonly Followed[]} */
  #followed = [];
  /** When each was asked for, or brought a frame, last. @type {Map<string, number>} */
  #heardAt = new Map();
  /** Of the request that is under way. */
  #leaving = new AbortController();
  #closed = false;
  #cancelWatch = () => {};

  /** @param {Tools} tools @param {Report} report */
  constructor(tools, report) {
    this.#tools = tools;
    this.#report = report;
  }

  /** Others than before are another request. @param {readonly Followed[]} followed */
  follow(followed) {
    const [before, after] = [new Set(this.#followed), new Set(followed)];
    const same = followed.every((one) => before.has(one)) && this.#followed.every((one) => after.has(one) || one.over);
    this.#followed = followed;
    if (!same) void this.#ask();
  }

  check() {} // the next comment, or its absence, will tell within seconds

  close() {
    this.#closed = true;
    this.#leave();
  }

  #leave() {
    this.#leaving.abort();
    this.#cancelWatch();
  }

  async #ask() {
    this.#leave();
    this.#leaving = new AbortController();
    const { signal } = this.#leaving;
    let answered = false;
    this.#heardAt = new Map(this.#followed.map(({ scanId }) => [scanId, this.#tools.around.clock.now()]));
    try {
      await this.#tools.pace.turn(signal);
      this.#watch(ANSWER_MS, () => this.#over(stuck("A stream")));
      const began = this.#tools.around.clock.now();
      const response = await this.#tools.requests.answer("opportunities/follow", {
        method: "POST",
        headers: { Accept: "text/event-stream" },
        text: JSON.stringify({ follow: wanted(this.#followed) }),
        signal,
      });
      await this.#check(response);
      answered = true;
      this.#report.lag(this.#tools.around.clock.now() - began);
      this.#report.alive();
      await this.#read(response, signal);
      if (!signal.aborted) this.#over(cut()); // else something else is asked for already
    } catch (error) {
      if (signal.aborted) return;
      this.#cancelWatch();
      const verdict = answered ? cut(error) : await lossOf(this.#tools.requests, error, signal).catch(() => null);
      if (verdict) this.#over(verdict);
    }
  }

  /** @param {Response} response */
  async #check(response) {
    const { status, headers } = response;
    if (!response.ok) throw new Lost(ofHttp(status, await jsonOf(response), retryAfterOf(headers)));
    if (!headers.get("Content-Type")?.startsWith("text/event-stream") || !response.body) throw new Lost(foreign(status));
  }

  /** @param {Response} response @param {AbortSignal} signal */
  async #read(response, signal) {
    const [reader, decoder, events] = [response.body?.getReader(), new TextDecoder(), new EventReader()];
    this.#listen();
    for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
      this.#listen();
      for (const { type, data } of events.take(decoder.decode(part.value, { stream: true }))) {
        if (signal.aborted) return;
        if (KNOWN.has(type)) this.#heard({ ...messageIn(data), type });
      }
      if (this.#quiet()) return void this.#ask(); // there is a part each 5 s, news or not
    }
  }

  /** Whether nothing has come of one of them for long, whatever came of others. */
  #quiet() {
    const late = this.#tools.around.clock.now() - QUIET_MS;
    return this.#followed.some(({ scanId, over }) => !over && (this.#heardAt.get(scanId) ?? late) < late);
  }

  /** @param {import("./patch.js").Plain} message */
  #heard(message) {
    this.#heardAt.set(message.scan_id, this.#tools.around.clock.now());
    if (message.type === "error" && message.scan_id === undefined) this.#over(ofMessage(message));
    else this.#report.message(message);
  }

  #listen() {
    this.#watch(SILENCE_MS, (late) => (late > OVERDUE_MS ? this.#listen() : this.#over(silence("The stream"))));
  }

  /** @param {number} ms @param {(late: number) => void} call */
  #watch(ms, call) {
    const { clock } = this.#tools.around;
    const due = clock.now() + ms;
    this.#cancelWatch();
    this.#cancelWatch = clock.after(ms, () => call(clock.now() - due));
  }

  /** @param {Verdict} verdict */
  #over(verdict) {
    if (this.#closed || this.#leaving.signal.aborted) return;
    this.close();
    this.#report.lost(verdict);
  }
}

/** @param {string} data @returns {import("./patch.js").Plain} */
function messageIn(data) {
  const message = JSON.parse(data);
  if (!isObject(message)) throw new TypeError("an event that is no message");
  return message;
}

/** @param {unknown} [cause] @returns {Verdict} */
const cut = (cause) => ({ error: new Unreachable("The stream was cut off", { cause }), why: "dropped" });
