/** The scans that run or have run, newest first: to be opened, cancelled, repeated. */
import { h, isStill, mark, still, write } from "./dom.js";
import { standing, verdict } from "../scanstream/words.js";
import { brief, clock, codeOf, count, plural, reason } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */
/** @typedef {{ item: HTMLElement, link: HTMLElement, what: HTMLElement, about: HTMLElement, cancel: HTMLButtonElement, repeat: HTMLButtonElement }} Line */
/** @typedef {{ repeat: (request: Plain) => void, heard: (trouble: string) => void, cancel: (scanId: string) => Promise<any> }} Given */

const PAGE = 12;
const RUNNING_MS = 4000;
const RESTING_MS = 8000;
const PATIENCE_MS = 5000;
/** Errors that say that the server is away. */
const AWAY = new Set(["unreachable", "restarting"]);

export class Scans {
  /** @type {Map<string, Line>} */
  #lines = new Map();
  /** @type {Plain[]} */
  #states = [];
  #pages = 1;
  #current = "";
  /** The scan on show, once the list was asked for it: it may be an old one, which is not there. */
  #missed = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #asking = false;
  /** Why a scan was not cancelled. */
  #trouble = "";

  /**
   * @param {{ list: HTMLElement, state: HTMLElement, older: HTMLButtonElement }} places
   * @param {(page: { limit: number, timeout: number, before?: string }) => Promise<Plain[]>} ask
   * @param {Given} given
   */
  constructor({ list, state, older }, ask, given) {
    this.list = list;
    this.state = state;
    this.older = older;
    this.ask = ask;
    this.given = given;
    older.addEventListener("click", async () => {
      this.#pages += 1;
      await this.refresh();
      if (older.hidden) /** @type {HTMLElement | null} */ (list.querySelector("li:last-child a"))?.focus();
    });
    for (const turn of ["online", "offline"]) addEventListener(turn, () => this.refresh());
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
  }

  /** This scan is on show. @param {string | null} scanId */
  current(scanId) {
    this.#current = scanId ?? "";
    for (const [id, line] of this.#lines) mark(line.link, "aria-current", id === this.#current ? "true" : null);
  }

  /** The scan on show has news: its line says so at once. @param {Plain} state */
  hear(state) {
    const line = this.#lines.get(state.scan_id);
    if (line) this.#write(line, state);
    else if (this.#missed !== state.scan_id) this.refresh();
    this.#missed = state.scan_id;
  }

  /** Asks now, and then again and again while the page is seen. */
  async refresh() {
    if (this.#asking) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    try {
      this.#states = await this.#asked();
      this.#show();
      this.given.heard("");
    } catch (error) {
      if (!this.#states.length) write(this.state, `The list of scans is not to be had: ${reason(error)}`);
      this.given.heard(AWAY.has(codeOf(error)) ? reason(error) : ""); // a refusal is an answer, too
    } finally {
      this.#asking = false;
      const running = this.#states.some((one) => one.status === "scanning");
      this.#timer = setTimeout(() => document.hidden || this.refresh(), running ? RUNNING_MS : RESTING_MS);
    }
  }

  async #asked() {
    /** @type {Plain[]} */
    let states = [];
    for (let page = 0; page < this.#pages; page += 1) {
      const before = states[states.length - 1]?.scan_id;
      const more = await this.ask({ limit: PAGE, timeout: PATIENCE_MS, ...(before ? { before } : {}) });
      states = [...states, ...more];
      if (more.length < PAGE) break;
    }
    return states;
  }

  #show() {
    const states = this.#states;
    write(this.state, states.length ? this.#trouble : "There are none yet. Finished ones stay here for a while; a link leads to each.");
    this.older.hidden = states.length < PAGE * this.#pages;
    const ids = new Set(states.map((one) => one.scan_id));
    for (const [id, line] of this.#lines) {
      if (ids.has(id)) continue;
      line.item.remove();
      this.#lines.delete(id);
    }
    let at = this.list.firstChild;
    for (const state of states) {
      const line = this.#lines.get(state.scan_id) ?? this.#made(state);
      this.#write(line, state);
      if (at === line.item) at = at.nextSibling;
      else this.list.insertBefore(line.item, at);
    }
    this.current(this.#current);
  }

  /** @param {Plain} state @returns {Line} */
  #made({ scan_id: id, filters }) {
    const what = h("span", { class: "what" }, title(filters));
    const about = h("span", { class: "hint" });
    const link = h("a", { href: `#${id}` }, what, about);
    const cancel = h("button", { type: "button", class: "quiet", onclick: () => this.#cancel(id, cancel) }, "Cancel");
    const repeat = h("button", { type: "button", class: "quiet", onclick: () => this.given.repeat(filters) }, "Repeat");
    const item = h("li", {}, link, h("span", { class: "actions" }, cancel, repeat));
    const line = { item, link, what, about, cancel, repeat };
    this.#lines.set(id, line);
    return line;
  }

  /** @param {Line} line @param {Plain} state */
  #write(line, state) {
    const going = state.status === "scanning";
    const { percentage, opportunities_found_so_far: found } = state.progress;
    mark(line.item, "data-verdict", verdict(state));
    write(line.about, [going && percentage ? `${standing(state)}, ${percentage} %` : standing(state), `${count(found)} found`, brief(state.created_at)].join(" · "));
    for (const [button, does] of /** @type {[Element, string][]} */ ([[line.cancel, "Cancel"], [line.repeat, "Repeat"]])) {
      mark(button, "aria-label", `${does}: ${line.what.textContent}, ${brief(state.created_at)}`); // of several alike
    }
    mark(line.about, "title", `Asked for at ${clock(state.created_at)}`);
    if (!going && document.activeElement === line.cancel) line.repeat.focus(); // what is hidden loses the focus
    line.cancel.hidden = !going;
    if (!going) still(line.cancel, false);
  }

  /** @param {string} id @param {HTMLButtonElement} button */
  async #cancel(id, button) {
    if (isStill(button)) return;
    still(button, true);
    this.#trouble = "";
    try {
      await this.given.cancel(id);
    } catch (error) {
      still(button, false);
      this.#trouble = `The scan could not be cancelled: ${reason(error)}. It goes on; try again.`;
    }
    await this.refresh();
  }
}

/** What was asked, in a line. @param {Plain} filters */
function title(filters) {
  const named = (/** @type {any} */ names, /** @type {string} */ all, /** @type {string} */ one) => {
    const list = typeof names === "string" ? names.split(",") : names;
    if (!list) return all;
    return list.length > 3 ? plural(list.length, one, one === "strategy" ? "strategies" : `${one}s`) : list.join(", ");
  };
  const more = Object.keys(filters).filter((name) => !["symbols", "strategy_ids"].includes(name)).length;
  const told = [named(filters.strategy_ids, "All strategies", "strategy"), named(filters.symbols, "all symbols", "symbol")];
  return [...told, more ? plural(more, "setting") : ""].filter(Boolean).join(" · ");
}
