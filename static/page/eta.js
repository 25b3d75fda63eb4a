/** How long a scan will take yet: as the server said it last, and less with each second since. */
import { duration } from "./words.js";

export class Countdown {
  /** @type {number | undefined} */
  #said;
  #at = 0;

  /**
   * What the server has said, and when that was heard. The same estimate with other progress counts anew.
   * @param {number | undefined} seconds
   * @param {number} now milliseconds
   */
  hear(seconds, now) {
    this.#said = seconds;
    this.#at = now;
  }

  /** The seconds that are left; undefined where nobody knows. @param {number} now @returns {number | undefined} */
  left(now) {
    return this.#said === undefined ? undefined : Math.max(0, this.#said - (now - this.#at) / 1000);
  }

  /** @param {number} now @returns {string} `about 12 s left` */
  text(now) {
    const left = this.left(now);
    if (left === undefined) return "";
    if (left > 0) return `about ${left < 60 ? `${Math.ceil(left)} s` : duration(left)} left`;
    return this.#said ? "longer than estimated" : "any moment now";
  }
}
