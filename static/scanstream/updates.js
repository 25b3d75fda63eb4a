/** What somebody has been told of a scan, and what comes next: the newest, however long they took for the last. */

import { recounted, skipped } from "./cursor.js";
import { diff } from "./patch.js";

/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {import("./reader.js").Reader} Reader */
/**
 * @typedef {object} Part of a scan, what somebody wants of it
 * @property {"state" | undefined} only
 * @property {number} start so many opportunities of its log are not wanted
 */
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
  #part;
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

  /** @param {Reader} reader @param {Part} [part] */
  constructor(reader, part = { only: undefined, start: 0 }) {
    this.#reader = reader;
    this.#part = part;
    this.#generation = reader.mirror.generation;
  }

  /** Whether there is something to tell. */
  get news() {
    const cursor = cursorOf(this.#reader, this.#part);
    return this.#reader.version > 0 && cursor !== null && cursor !== this.#cursor;
  }

  /** What is new: all that is held, the first time. @returns {Update} */
  take() {
    const { state, generation } = this.#reader.mirror;
    const cursor = cursorOf(this.#reader, this.#part) ?? "";
    const reset = generation !== this.#generation && this.#cursor !== null;
    const update = {
      state,
      patch: diff(reset ? {} : this.#state, state),
      opportunities: this.#new(),
      cursor,
      skipped: skipped(this.#cursor, cursor),
      reset,
    };
    this.#state = state;
    this.#cursor = cursor;
    this.#generation = generation;
    return update;
  }

  #new() {
    const { only, start } = this.#part;
    if (only) return [];
    const { opportunities, base } = this.#reader.mirror;
    if (opportunities !== this.#list) {
      for (const { id } of this.#list.slice(0, this.#told)) this.#known.add(id);
      [this.#list, this.#told] = [opportunities, Math.max(0, start - base)];
    }
    const found = opportunities.slice(this.#told);
    this.#told = Math.max(this.#told, opportunities.length);
    return this.#known.size ? found.filter(({ id }) => !this.#known.has(id)) : found;
  }
}

/**
 * The cursor that is true for whoever has been told all of their part; null before that can be.
 * @param {Reader} reader
 * @param {Part} part
 * @returns {string | null}
 */
export function cursorOf({ mirror }, { only, start }) {
  if (mirror.cursor === null || (!only && start < mirror.base)) return null;
  return recounted(mirror.cursor, (n) => (only ? Math.min(n, start) : Math.max(n, start)));
}

/**
 * All that is held of a part, in the order of the log.
 * @param {Reader} reader
 * @param {Part} part
 * @returns {readonly Plain[]}
 */
export function heldOf({ mirror: { opportunities, base } }, { only, start }) {
  if (only || start < base) return [];
  return start > base ? opportunities.slice(start - base) : opportunities;
}
