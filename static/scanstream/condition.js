/** How a line is, as its user may see it. Pure; tests/vectors/connection.json holds it. */

/**
 * @typedef {object} Connection
 * @property {"connecting" | "live" | "waiting" | "paused" | "closed"} state
 * @property {string | null} transport what brought the last frame
 * @property {number} attempts since the last frame
 * @property {number | null} retryAt when the next attempt begins, by `Date.now()`
 * @property {number | null} lag how long the server took for its last answer, in milliseconds
 * @property {string | null} reason why it is not live, or not on the best rung, in words for people
 */

/** @type {Connection} */
export const IDLE = Object.freeze({ state: "connecting", transport: null, attempts: 0, retryAt: null, lag: null, reason: null });

export class Condition {
  #told;
  /** Why the last rung was left. @type {string | null} */
  #below = null;
  connection = IDLE;

  /** @param {(connection: Connection) => void} told called when it has changed */
  constructor(told) {
    this.#told = told;
  }

  /** One begins. @param {number} attempts since the last frame */
  attempt(attempts) {
    this.tell({ state: "connecting", retryAt: null, attempts });
  }

  /** A frame came; over the best rung or another. @param {string} transport @param {boolean} best */
  frame(transport, best) {
    this.tell({ transport, attempts: 0, ...this.#live(best) });
  }

  /** Something came that is no frame: enough where the last frame came over this rung, too. @param {string} transport @param {boolean} best */
  alive(transport, best) {
    if (transport === this.connection.transport) this.tell(this.#live(best));
  }

  /**
   * It is lost, and the next attempt comes at a time.
   * @param {string} reason
   * @param {number | null} retryAt
   * @param {boolean} left whether for a worse rung
   */
  wait(reason, retryAt, left) {
    if (left) this.#below = reason;
    this.tell({ state: "waiting", retryAt, reason });
  }

  /** @param {Partial<Connection>} changes */
  tell(changes) {
    const next = { ...this.connection, ...changes };
    const keys = /** @type {(keyof Connection)[]} */ (Object.keys(next));
    if (keys.every((key) => next[key] === this.connection[key])) return;
    this.connection = Object.freeze(next);
    this.#told(this.connection);
  }

  /** @param {boolean} best @returns {Partial<Connection>} */
  #live(best) {
    return { state: "live", retryAt: null, reason: best ? null : this.#below };
  }
}
