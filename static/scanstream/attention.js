/** Whether somebody looks at the page, and when the network may have changed. In Node somebody always does. */

/** A page that is hidden for so long pauses. */
export const PAUSE_MS = 60_000;
/** What comes within so short a time is one occasion. */
const TOGETHER_MS = 100;

/**
 * @typedef {object} Listener
 * @property {() => void} hide nobody looks just now
 * @property {() => void} pause nobody has looked for a while, or the page is left
 * @property {() => void} look somebody looks again, or the network is back: check, and go on
 */

export class Attention {
  /** @type {Set<Listener>} */
  #listeners = new Set();
  #clock;
  #page = globalThis.document;
  #cancelPause = () => {};
  #cancelLook = () => {};
  #events = /** @type {const} */ ([
    ["visibilitychange", () => (this.hidden ? this.#hide() : this.#look())],
    ["pageshow", () => this.#look()],
    ["online", () => this.#look()],
    ["pagehide", () => this.#pause()],
  ]);

  /** @param {import("./clock.js").Clock} clock */
  constructor(clock) {
    this.#clock = clock;
  }

  get hidden() {
    return this.#page?.visibilityState === "hidden";
  }

  /** @param {Listener} listener @returns {() => void} to be called when that is over */
  listen(listener) {
    const first = !this.#listeners.size;
    this.#listeners.add(listener);
    if (first) this.#attach();
    return () => {
      this.#listeners.delete(listener);
      if (!this.#listeners.size) this.#detach();
    };
  }

  #attach() {
    for (const [name, call] of this.#events) targetOf(name)?.addEventListener(name, call);
    if (this.hidden) this.#hide();
  }

  #detach() {
    for (const [name, call] of this.#events) targetOf(name)?.removeEventListener(name, call);
    this.#cancelPause();
    this.#cancelLook();
  }

  #hide() {
    this.#cancelLook();
    for (const { hide } of [...this.#listeners]) hide();
    this.#cancelPause();
    this.#cancelPause = this.#clock.after(PAUSE_MS, () => this.#pause());
  }

  #pause() {
    this.#cancelPause();
    this.#cancelLook();
    for (const { pause } of [...this.#listeners]) pause();
  }

  /** Being shown, coming online and coming back from the history often come together. */
  #look() {
    this.#cancelLook();
    if (this.hidden) return;
    this.#cancelPause();
    this.#cancelLook = this.#clock.after(TOGETHER_MS, () => {
      for (const { look } of [...this.#listeners]) look();
    });
  }
}

/** @param {string} name @returns {EventTarget | null} */
function targetOf(name) {
  if (name === "visibilitychange") return globalThis.document ?? null;
  return "addEventListener" in globalThis ? globalThis : null;
}
