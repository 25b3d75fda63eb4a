/** What a screen reader is told: phases, each quarter of the way, the end, and a connection that is lost or back. */
import { write } from "./dom.js";
import { standing } from "../scanstream/words.js";
import { plural } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */

const STEP = 25;

export class Announcer {
  #stage = "";
  #quarter = 0;
  #scan = "";

  /** @param {Element} region a live region */
  constructor(region) {
    this.region = region;
  }

  /** @param {string} text */
  say(text) {
    write(this.region, text);
  }

  /** The newest state of the scan on show: speaks where that is news. @param {Plain} state */
  hear(state) {
    const { percentage, opportunities_found_so_far: found } = state.progress;
    const quarter = Math.floor(percentage / STEP);
    if (state.scan_id !== this.#scan) [this.#scan, this.#stage, this.#quarter] = [state.scan_id, "", quarter];
    const now = standing(state);
    if (now !== this.#stage) this.say(state.status === "scanning" ? `${now}.` : `${now}: ${plural(found, "opportunity", "opportunities")}.`);
    else if (quarter > this.#quarter && state.status === "scanning") this.say(`${percentage} percent, ${found} found.`);
    [this.#stage, this.#quarter] = [now, quarter];
  }
}
