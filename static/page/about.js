/** What was asked of a scan, when it was what, and where programs find it. */
import { h, write } from "./dom.js";
import { spoken } from "../scanstream/words.js";
import { clock, count, some } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */

export class About {
  #list = h("dl");
  /** @type {Map<string, HTMLElement>} */
  #told = new Map();
  #programs = h("p", { class: "hint" });
  #linked = "";

  /**
   * @param {HTMLElement} root
   * @param {URL} home of the server
   * @param {() => boolean} asks whether it wants a key, which no link has with it
   */
  constructor(root, home, asks) {
    this.home = home;
    this.asks = asks;
    root.append(this.#list, this.#programs);
  }

  /** Another scan is on show. */
  clear() {
    this.#told.clear();
    this.#list.replaceChildren();
    this.#programs.replaceChildren();
    this.#linked = "";
  }

  /** @param {Plain} state */
  show(state) {
    for (const [name, value] of [...facts(state), ...asked(state.filters ?? {})]) {
      const place = this.#told.get(name) ?? this.#made(name);
      write(place, value);
    }
    if (this.#linked !== state.scan_id) this.#link(state.scan_id);
  }

  /** @param {string} name */
  #made(name) {
    const place = h("dd");
    this.#told.set(name, place);
    this.#list.append(h("div", {}, h("dt", {}, name), place));
    return place;
  }

  /** @param {string} scanId */
  #link(scanId) {
    this.#linked = scanId;
    if (this.asks()) {
      const path = h("code", {}, `opportunities/status/${scanId}`);
      return this.#programs.replaceChildren("For programs, with a key: ", path, ", and results and events beside it.");
    }
    const links = ["status", "results", "events"].flatMap((name) => {
      const href = new URL(`opportunities/${name}/${encodeURIComponent(scanId)}`, this.home).href;
      return [" · ", h("a", { href, target: "_blank", rel: "noopener" }, name)];
    });
    this.#programs.replaceChildren("For programs: ", ...links.slice(1));
  }
}

/** @param {Plain} state @returns {[string, string][]} */
function facts({ scan_id: id, market, created_at: created, started_at: started, finished_at: finished, expires_at: expires, progress, error }) {
  const { strategies_completed: done, total_strategies: all } = progress;
  /** @type {[string, string | undefined][]} */
  const told = [
    ["Scan", id],
    ["Market", market],
    ["Asked for", clock(created)],
    ["Started", started && clock(started)],
    ["Ended", finished && clock(finished)],
    ["Kept until", expires && clock(expires)],
    ["Strategies with an outcome", `${count(done)} of ${count(all)}`],
    ["Error", error?.code],
  ];
  return told.filter((one) => one[1] !== undefined).map(([name, value]) => [name, String(value)]);
}

/** @param {Plain} filters what was given in the request @returns {[string, string][]} */
function asked({ symbols, strategy_ids: ids, parameters, ...rest }) {
  /** @type {[string, string][]} */
  const told = [["Symbols", some(symbols) ?? "all"], ["Chosen strategies", some(ids) ?? "all"]];
  for (const [name, value] of Object.entries(rest)) told.push([capital(spoken(name)), some(value) ?? String(value)]);
  for (const [id, given] of Object.entries(parameters ?? {})) {
    const pieces = Object.entries(given ?? {}).map(([name, value]) => `${spoken(name)} ${JSON.stringify(value)}`);
    told.push([`Parameters of ${id}`, pieces.join(", ")]);
  }
  return told;
}

/** @param {string} text */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
