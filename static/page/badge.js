/** How the connection is: live, slower and on which rung, paused, or waiting for the server and since when. */
import { mark, write } from "./dom.js";
import { liveness } from "../scanstream/words.js";
import { brief } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */
/** @typedef {import("./announce.js").Announcer} Announcer */

const SLOWER = "The faster ways are shut, by a proxy perhaps. Nothing is lost, and they are tried again.";
/** A server that is away for so long is said aloud; one that was told to be back within so long, only if it is away for longer. */
const LOST_MS = 800;
const AGAIN_MS = 60_000;
const LONG_MS = 5000;

export class Badge {
  /** Since when there is no answer. @type {number | undefined} */
  #since;
  /** Whether who listens was told last that the server is away. */
  #told = false;
  /** Since when it is away, and since when it was told to be back, by a clock that nobody sets. */
  #lostAt = Infinity;
  #backAt = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #later;
  #following = false;
  /** Whether somebody is asked for a key: nothing is asked of the server before there is one. */
  #asks = false;
  /** Why the list of scans is not answered. */
  #unanswered = "";
  /** The next attempt by the clock of the wall, and when that is by one that nobody sets. @type {{ at: number | null, due: number }} */
  #next = { at: null, due: 0 };

  /**
   * @param {HTMLElement} root
   * @param {any} client
   * @param {Announcer} announcer
   */
  constructor(root, client, announcer) {
    this.root = root;
    this.client = client;
    this.announcer = announcer;
    this.text = /** @type {HTMLElement} */ (root.querySelector("#badge-text"));
    this.because = /** @type {HTMLElement} */ (root.querySelector("#badge-why"));
    this.again = /** @type {HTMLButtonElement} */ (root.querySelector("#try-now"));
    client.addEventListener("connection", () => this.draw());
    this.draw();
  }

  /** Whether a scan is followed that goes on: else only the list of scans says how the server is. @param {boolean} is */
  follows(is) {
    if (is === this.#following) return;
    this.#following = is;
    this.draw();
  }

  /** @param {boolean} is whether a key is waited for */
  asks(is) {
    this.#asks = is;
    this.draw();
  }

  /** How the list of scans was answered: nothing where it was, else why not. @param {string} trouble */
  heard(trouble) {
    this.#unanswered = trouble;
    this.#listed = true;
    this.draw();
  }
  #listed = false;

  /** Each second, too: what it says counts down. */
  draw() {
    const { kind, text, why = "" } = this.#words();
    if (kind !== "waiting") this.#since = undefined;
    mark(this.root, "data-state", kind);
    write(this.text, text);
    write(this.because, why);
    if (kind !== "waiting" && document.activeElement === this.again) this.rest(); // what is hidden loses the focus
    this.again.hidden = kind !== "waiting";
    this.#announce(kind);
  }

  /** @returns {{ kind: string, text: string, why?: string }} */
  #words() {
    const { state, transport, retryAt, reason } = this.client.connection;
    if (this.#asks) return { kind: "asks", text: "Waiting for your key" };
    if (!this.#following) {
      if (this.#unanswered) return this.#waiting(null, this.#unanswered);
      return this.#listed ? { kind: "connected", text: "Connected" } : { kind: "connecting", text: "Connecting …" };
    }
    if (state === "paused") return { kind: "paused", text: "Paused while hidden", why: "It catches up when the page is shown." };
    if (state === "live") {
      const text = liveness(transport);
      return text === "Live" ? { kind: "live", text } : { kind: "slower", text, why: reason ?? SLOWER };
    }
    if (state === "waiting" || this.#since) return this.#waiting(state === "waiting" ? retryAt : null, reason);
    return { kind: "connecting", text: "Connecting …" };
  }

  /** @param {number | null} retryAt @param {string | null} reason */
  #waiting(retryAt, reason) {
    this.#since ??= Date.now();
    if (retryAt !== null && retryAt !== this.#next.at) this.#next = { at: retryAt, due: performance.now() + retryAt - Date.now() };
    const left = retryAt === null ? 0 : Math.ceil((this.#next.due - performance.now()) / 1000);
    const next = left > 0 ? `next try in ${left} s` : "trying now";
    return { kind: "waiting", text: `Waiting for the server since ${brief(this.#since)} · ${next}`, why: reason ?? "" };
  }

  /** The focus goes to the badge itself, which then says how it is. */
  rest() {
    this.root.focus({ preventScroll: true });
  }

  /** Who listens is told of what lasts: what is lost for a moment, again and again, would drown all else. @param {string} kind */
  #announce(kind) {
    if (kind === "connecting" || kind === "asks") return;
    const [away, now] = [kind === "waiting", performance.now()];
    clearTimeout(this.#later);
    this.#lostAt = away ? Math.min(this.#lostAt, now) : Infinity;
    if (away === this.#told) return;
    const left = this.#lostAt + (now - this.#backAt < AGAIN_MS ? LONG_MS : LOST_MS) - now;
    if (away && left > 0) return void (this.#later = setTimeout(() => this.draw(), left));
    if (!away) this.#backAt = now;
    this.#told = away;
    this.announcer.say(away ? "Waiting for the server. The scan goes on without this page." : "The server is back.");
  }
}
