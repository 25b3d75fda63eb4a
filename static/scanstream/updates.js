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
 * @property {boolean} reset whether the server has begun anew: the state does not follow from the one before. What was
 *   told of opportunities before is not told again
 */

export class Updates {
  #reader;
  /** @type {string | null} */
  #cursor = null;
  /** @type {Plain} */
  #state = {};
  /** The list that was told of, and so many of it. @type {Plain[]} */
  #list = [];
  #told = 0;
  /** What was told of lists that a snapshot has replaced. @type {Set<string>} */
  #known = new Set();
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
    const { state, cursor, generation } = this.#reader.mirror;
    const reset = generation !== this.#generation && this.#cursor !== null;
    const update = {
      state,
      patch: diff(reset ? {} : this.#state, state),
      opportunities: this.#new(),
      cursor: cursor ?? "",
      skipped: skipped(this.#cursor, cursor ?? ""),
      reset,
    };
    this.#state = state;
    this.#cursor = cursor;
    this.#generation = generation;
    return update;
  }

  #new() {
    const { opportunities } = this.#reader.mirror;
    if (opportunities !== this.#list) {
      for (const { id } of this.#list.slice(0, this.#told)) this.#known.add(id);
      [this.#list, this.#told] = [opportunities, 0];
    }
    const found = opportunities.slice(this.#told);
    this.#told = opportunities.length;
    return this.#known.size ? found.filter(({ id }) => !this.#known.has(id)) : found;
  }
}
