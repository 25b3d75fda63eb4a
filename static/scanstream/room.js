/**
 * Whether there is a connection to spare for an answer that stays open. A browser has six to an HTTP/1.1 origin, for all
 * its tabs: so three tabs at most have one, and none that nobody looks at. Node has as many as it likes.
 */

/** Tabs that may have one. */
export const TABS = 3;

export class Room {
  #origin;
  #attention;

  /** @param {URL} url @param {import("./attention.js").Attention} attention */
  constructor(url, attention) {
    this.#origin = url.origin;
    this.#attention = attention;
  }

  /**
   * @returns {Promise<(() => void) | null>} gives it back; null where there is none to spare
   */
  async take() {
    if (!globalThis.document) return () => {};
    if (this.#attention.hidden) return null;
    const locks = globalThis.navigator?.locks;
    if (!locks) return () => {}; // no secure context: then being hidden alone decides
    for (let place = 0; place < TABS; place += 1) {
      const free = await held(locks, `scanstream ${this.#origin} ${place}`);
      if (free) return free;
    }
    return null;
  }
}

/** @param {LockManager} locks @param {string} name @returns {Promise<(() => void) | null>} */
function held(locks, name) {
  return new Promise((resolve) => {
    locks.request(name, { ifAvailable: true }, (lock) => {
      if (!lock) return resolve(null);
      return new Promise((/** @type {(value?: unknown) => void} */ free) => resolve(() => free()));
    }).catch(() => resolve(() => {})); // a page that may keep nothing has no locks either: as without them
  });
}
