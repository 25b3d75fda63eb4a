/** The life of the scan on show: what happened when, how long it took, and what it waits for. Asked for when it is opened. */
import { h } from "./dom.js";
import { spoken } from "../scanstream/words.js";
import { clock, count, plural } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */

const REST_MS = 2000;
const PATIENCE_MS = 10_000;

export class Life {
  #scanId = "";
  #going = false;
  #stale = true;
  #asking = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #body = h("div");

  /**
   * @param {HTMLElement} root a `details`
   * @param {URL} home of the server
   * @param {(url: URL, more: RequestInit) => Promise<Response>} fetched
   */
  constructor(root, home, fetched) {
    this.root = /** @type {HTMLDetailsElement} */ (root);
    this.home = home;
    this.fetched = fetched;
    root.append(this.#body);
    root.addEventListener("toggle", () => this.#look());
  }

  /** Another scan is on show, or none. */
  clear() {
    clearTimeout(this.#timer);
    this.#scanId = "";
    this.#body.replaceChildren();
  }

  /** @param {Plain} state of the scan on show */
  show(state) {
    const going = state.status === "scanning";
    this.#stale ||= state.scan_id !== this.#scanId || (this.#going && !going);
    this.#scanId = state.scan_id;
    this.#going = going;
    this.#look();
  }

  async #look() {
    if (!this.root.open || !this.#stale || this.#asking || !this.#scanId) return;
    this.#stale = false;
    this.#asking = true;
    const asked = this.#scanId;
    const told = document.hidden ? null : await this.#answer(asked);
    this.#asking = false;
    if (asked === this.#scanId && told) this.#draw(told);
    if (asked !== this.#scanId) this.#stale = true;
    clearTimeout(this.#timer);
    if (this.#going || this.#stale) this.#timer = setTimeout(() => this.#again(), REST_MS);
  }

  #again() {
    this.#stale = true;
    this.#look();
  }

  /** @param {string} scanId @returns {Promise<Plain | null>} */
  async #answer(scanId) {
    try {
      const url = new URL(`opportunities/explain/${encodeURIComponent(scanId)}`, this.home);
      const answer = await this.fetched(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null; // that the server is away is said by the badge
    }
  }

  /** @param {Plain} told */
  #draw(told) {
    const waits = told.waits_for.map((/** @type {Plain} */ one) => h("p", { class: "hint" }, `Waits: ${one.why}.`));
    const moments = told.timeline.map((/** @type {Plain} */ one) => h("li", {}, moment(one)));
    const rest = told.left_out ? [h("p", { class: "hint" }, `${plural(told.left_out, "entry", "entries")} on single shards are summed up here:`)] : [];
    const strategies = Object.entries(told.strategies).map(([name, life]) => h("li", {}, strategy(name, life)));
    this.#body.replaceChildren(...waits, h("ol", {}, ...moments), ...rest, h("ul", {}, ...strategies));
  }
}

/** @param {Plain} one */
function moment({ at, what, took_ms: took, strategy_id: id, shard, by, detail }) {
  const whose = id === undefined ? "" : ` of ${id}, shard ${count(shard + 1)}`;
  const long = took === undefined ? "" : shard === undefined ? `, after ${spell(took)}` : `, took ${spell(took)}`;
  return [`${clock(at)}: ${spoken(what)}${whose}${long}`, detail, by && `on ${by}`].filter(Boolean).join(" · ");
}

/** @param {string} name @param {Plain} life */
function strategy(name, life) {
  const slow = life.slowest?.[0];
  const told = [
    `${name}: ${spoken(life.status)}, ${count(life.done ?? 0)} of ${plural(life.total_shards ?? 0, "shard")} done`,
    life.failed ? `${count(life.failed)} failed` : "",
    life.running_here ? `${count(life.running_here)} at work` : "",
    slow ? `the slowest took ${spell(slow.took_ms)}` : "",
    life.failures?.[0]?.detail ?? "",
  ];
  return told.filter(Boolean).join(", ");
}

/** @param {number} ms */
const spell = (ms) => (ms < 1000 ? `${count(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
