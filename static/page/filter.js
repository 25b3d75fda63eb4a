/** The bar above the table that says which of what was found is shown. */
import { h } from "./dom.js";
import { RISK_LEVELS } from "./columns.js";
import { spoken } from "../scanstream/words.js";

/** @typedef {import("./words.js").Plain} Plain */

const ALL = "";

export class Filter {
  #words = h("input", { type: "search", placeholder: "BTC, pairs, long …", autocomplete: "off", spellcheck: "false" });
  #strategy = h("select");
  #side = h("select");
  #risk = h("select");
  #confidence = h("input", { type: "number", min: 0, max: 100, step: "any", inputmode: "decimal", placeholder: "0" });
  /** @type {Set<string>} */
  #strategies = new Set();

  /** @param {HTMLElement} root @param {() => void} changed */
  constructor(root, changed) {
    fill(this.#strategy, "all", []);
    fill(this.#side, "all", ["long", "short", "neutral"]);
    fill(this.#risk, "any", RISK_LEVELS.slice(0, -1));
    for (const [title, input] of /** @type {[string, HTMLElement][]} */ ([
      ["Find", this.#words], ["Strategy", this.#strategy], ["Side", this.#side], ["Risk up to", this.#risk],
      ["Confidence from", this.#confidence],
    ])) {
      input.id = `filter-${title.toLowerCase().replaceAll(" ", "-")}`;
      root.append(h("div", {}, h("label", { for: input.id }, title), input)); // a label around a select would have its options in its text
      input.addEventListener("input", changed);
    }
  }

  /** The strategies that have found something. @param {string[]} ids */
  offer(ids) {
    if (ids.every((id) => this.#strategies.has(id))) return;
    for (const id of ids) this.#strategies.add(id);
    const chosen = this.#strategy.value;
    fill(this.#strategy, "all", [...this.#strategies].sort());
    this.#strategy.value = chosen;
  }

  get #all() {
    return [this.#words, this.#strategy, this.#side, this.#risk, this.#confidence];
  }

  clear() {
    for (const input of this.#all) input.value = ALL;
  }

  /** Other strategies may be there. */
  forget() {
    this.#strategies.clear();
    fill(this.#strategy, "all", []);
  }

  /** Whether it is shown: all the words are in it, whatever the case. @returns {(found: Plain) => boolean} */
  get accepts() {
    const words = this.#words.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const [strategy, side] = [this.#strategy.value, this.#side.value];
    const risk = this.#risk.value === ALL ? RISK_LEVELS.length : RISK_LEVELS.indexOf(this.#risk.value);
    const least = Number(this.#confidence.value); // nothing written is 0
    return (found) =>
      (strategy === ALL || found.strategy_id === strategy) &&
      (side === ALL || found.side === side) &&
      RISK_LEVELS.indexOf(found.risk_level) <= risk &&
      (found.confidence_score ?? 0) >= least &&
      (!words.length || has(found, words));
  }
}

/** @param {Plain} found @param {string[]} words */
function has(found, words) {
  const text = [...(found.symbols ?? []), found.id, found.strategy_name, found.opportunity_type, found.side, found.risk_level]
    .join(" ")
    .toLowerCase();
  return words.every((word) => text.includes(word));
}

/** @param {HTMLSelectElement} select @param {string} all @param {string[]} names */
function fill(select, all, names) {
  select.replaceChildren(h("option", { value: ALL }, all), ...names.map((name) => h("option", { value: name }, spoken(name))));
}
