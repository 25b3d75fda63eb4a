/** What somebody has been told of a scan, and what comes next: the newest, however long they took for the last. */

import { skipped } from "./cursor.js";
import { diff } from "./patch.js";

/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {import("./reader.js").Reader} Reader */
/**
 * @typedef {object} Update
 * @property {Plain} state the newest
 * @property {Plain} patch leads from the state of the update before to this one
 * @property {Plain[]} opportunities those that are new since the update before
 * @property {string} cursor true for exactly what was told until now
 * @property {number} skipped revisions folded into this update beyond the first
 * @property {boolean} reset whether all that was told before is to be discarded: the server has begun anew
 */

export class Updates {
  #reader;
  /** @type {string | null} */
  #cursor = null;
  /** @type {Plain} */
  #state = {};
  #told = 0;
  #generation;

  /** @param {Reader} reader */
  constructor(reader) {
    this.#reader = reader;
    this.#generation = reader.mirror.generation;
  }

  /** Whether there is something to tell. */
  get news() {
    const { mirror, version } = this.#reader;
    return version > 0 && mirror.cursor !== null && mirror.cursor !== this.#cursor;
  }

  /** What is new: all that is held, the first time. @returns {Update} */
  take() {
    const { state, opportunities, cursor, generation } = this.#reader.mirror;
    const reset = generation !== this.#generation && this.#cursor !== null;
    const from = reset ? 0 : this.#told;
    const update = {
      state,
      patch: diff(reset ? {} : this.#state, state),
      opportunities: opportunities.slice(from),
      cursor: cursor ?? "",
      skipped: skipped(this.#cursor, cursor ?? ""),
      reset,
    };
    this.#state = state;
    this.#told = opportunities.length;
    this.#cursor = cursor;
    this.#generation = generation;
    return update;
  }
}
