/** What a reader holds of one scan. Pure: frames in; state, opportunities and the cursor to go on from out. */

import { parse } from "./cursor.js";
import { merge } from "./patch.js";

/** @typedef {import("./patch.js").Plain} Plain */

/** A frame that does not follow from what is held: it is to be asked for again, from the cursor. */
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
   * are not taken again. What was handed out before stays as it was: `opportunities` alone grows.
   * @param {Plain} frame
   * @returns {boolean} whether it was a frame
   * @throws {GapError} if something is missing between what is held and the frame; then nothing has changed
   */
  apply(frame) {
    switch (frame.type) {
      case "snapshot":
        if (this.cursor !== null) this.generation += 1;
        [this.state, this.opportunities, this.base] = [frame.state, [...(frame.opportunities ?? [])], 0];
        break;
      case "update": {
        const found = this.#new(frame);
        this.state = merge(this.state, frame.patch);
        for (const one of found) this.opportunities.push(one);
        break;
      }
      case "end":
        this.ended = true;
        break;
      default:
        return false;
    }
    this.cursor = frame.cursor;
    return true;
  }

  /** @param {Plain} frame @returns {Plain[]} */
  #new({ opportunities = [], offset, cursor }) {
    if (!opportunities.length) return [];
    const held = this.base + this.opportunities.length;
    const begin = offset ?? held;
    if (begin > held || begin < this.base) throw new GapError(`${cursor}: offset ${begin}, but ${held} are held`);
    return opportunities.slice(held - begin);
  }
}
