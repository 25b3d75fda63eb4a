/** What a reader holds of one scan. Pure: frames in; state, opportunities and the cursor to go on from out. */

import { parse } from "./cursor.js";
import { isObject, merge } from "./patch.js";

/** @typedef {import("./cursor.js").Position} Position */
/** @typedef {import("./patch.js").Plain} Plain */

/** A frame that does not follow from what is held, or is malformed: it is to be asked for again, from the cursor. */
export class GapError extends Error {
  name = "GapError";
}

export class Mirror {
  /** @type {Plain} */
  state = {};
  /** In the order of the log. @type {Plain[]} */
  opportunities = [];
  /** @type {string | null} */
  cursor = null;
  /** How many opportunities came before the first one held, where a reader began at a cursor. */
  base = 0;
  /** How often a snapshot has taken the place of what was held. */
  generation = 0;
  /** Whether nothing more will come. */
  ended = false;
  /** Whether somebody wants more than is held: a snapshot, which brings all, is to come. */
  lacking = false;

  /**
   * Begins where a reader was before: opportunities that came until then are not held.
   * @param {string} cursor
   */
  static since(cursor) {
    const mirror = new Mirror();
    mirror.cursor = cursor;
    mirror.base = parse(cursor)?.n ?? 0;
    return mirror;
  }

  /**
   * Take a `snapshot`, an `update` or the `end`; what else there may be is ignored. Opportunities that are held already
   * are not taken again, and nothing is of an update from before what is held: one that came twice, or late. What was
   * handed out before stays as it was: `opportunities` alone grows.
   * @param {Plain} frame
   * @returns {boolean} whether it was a frame, and was taken
   * @throws {GapError} if it is malformed, or something is missing between what is held and the frame; then nothing has
   *   changed
   */
  apply(frame) {
    const take = { snapshot: this.#begin, update: this.#goOn, end: this.#end };
    if (!Object.hasOwn(take, frame.type)) return false;
    if (typeof frame.cursor !== "string") throw new GapError(`${frame.type} without a cursor`);
    if (!take[/** @type {"update"} */ (frame.type)].call(this, frame)) return false;
    this.cursor = frame.cursor;
    return true;
  }

  /** @param {Plain} frame */
  #begin(frame) {
    const [state, found] = [objectIn(frame, "state"), listIn(frame)];
    if ((parse(frame.cursor)?.n ?? 0) > found.length) throw new GapError(`${frame.cursor}: a snapshot with ${found.length} opportunities`);
    const anew = !this.lacking || parse(frame.cursor)?.epoch !== parse(this.cursor ?? "")?.epoch;
    if (this.cursor !== null && anew) this.generation += 1;
    this.lacking = false;
    [this.state, this.opportunities, this.base] = [state, found, 0];
    return true;
  }

  /** Whether there is something new in it. @param {Plain} frame */
  #goOn(frame) {
    const [patch, listed] = [objectIn(frame, "patch"), listIn(frame)];
    const [before, after] = [this.#place(), parse(frame.cursor)];
    if (before && after) {
      const begin = after.seq - 1 - wholeIn(frame, "skipped", after.seq);
      if (before.epoch !== after.epoch || before.seq < begin) throw new GapError(`${frame.cursor} does not lead on from ${this.cursor}`);
      if (after.seq < before.seq || (after.seq === before.seq && after.n < before.n)) return false;
    }
    const found = this.#new(frame, listed);
    if (before && after && after.n > this.#count(before) + found.length) {
      throw new GapError(`${frame.cursor}: ${found.length} new opportunities after ${this.cursor}`);
    }
    this.state = merge(this.state, patch);
    for (const one of found) this.opportunities.push(one);
    return true;
  }

  /** Whatever number it has: what was said before it must have come. @param {Plain} frame */
  #end(frame) {
    const [before, after] = [this.#place(), parse(frame.cursor)];
    if (before && after) {
      const here = before.epoch === after.epoch && before.seq === after.seq;
      const told = this.state.status === frame.status;
      if (!(here || told) || after.n > this.#count(before)) throw new GapError(`the end is at ${frame.cursor}, and ${this.cursor} is held`);
    }
    this.ended = true;
    return true;
  }

  /** How many opportunities came until here; a reader of the state alone has their number only. @param {Position} place */
  #count({ n }) {
    return Math.max(n, this.base + this.opportunities.length);
  }

  /** Where this is; null where the cursor is not one that this version can read. */
  #place() {
    if (this.cursor === null) throw new GapError("nothing is held yet");
    return parse(this.cursor);
  }

  /** @param {Plain} frame @param {Plain[]} found @returns {Plain[]} */
  #new(frame, found) {
    const held = this.base + this.opportunities.length;
    const begin = wholeIn(frame, "offset", held);
    if (!found.length) return [];
    if (begin > held || begin < this.base) throw new GapError(`${frame.cursor}: offset ${begin}, but ${held} are held`);
    return found.slice(held - begin);
  }
}

/** @param {Plain} frame @param {string} name @returns {Plain} */
function objectIn(frame, name) {
  const value = frame[name];
  if (!isObject(value)) throw new GapError(`${frame.type}: ${name} is no object`);
  return value;
}

/** @param {Plain} frame @returns {Plain[]} a list of the mirror's own */
function listIn({ type, opportunities: found = [] }) {
  if (!Array.isArray(found) || !found.every(isObject)) throw new GapError(`${type}: opportunities are no list of objects`);
  return [...found];
}

/** @param {Plain} frame @param {string} name @param {number} absent what it is where nothing is said */
function wholeIn(frame, name, absent) {
  const { [name]: value = absent } = frame;
  if (!Number.isSafeInteger(value) || value < 0) throw new GapError(`${frame.type}: ${name} is no whole number`);
  return value;
}
