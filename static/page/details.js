/** One opportunity, whole: its prices with its levels, its legs, and all that its strategy tells. */
import { h } from "./dom.js";
import { sparkline } from "./sparkline.js";
import { spoken } from "../scanstream/words.js";
import { clock, dollars, hitRate, percent, price, score, subject } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */
/** @typedef {import("./prices.js").Prices} Prices */

const CHART = { width: 480, height: 120 };
const MOST_CHARTS = 4;

export class Details {
  /** @param {any} dialog a `<dialog>` @param {Prices} prices */
  constructor(dialog, prices) {
    this.dialog = dialog;
    this.prices = prices;
    dialog.addEventListener("click", (/** @type {Event} */ event) => {
      if (event.target === dialog) dialog.close(); // beside it
    });
  }

  /** @param {Plain} found */
  open(found) {
    const metadata = found.metadata ?? {};
    const symbols = [...new Set(/** @type {string[]} */ (found.symbols ?? []))].slice(0, MOST_CHARTS);
    const charts = symbols.map((symbol) => this.#chart(symbol, symbols.length === 1 ? levels(found) : []));
    this.dialog.replaceChildren(
      h(
        "div",
        { class: "sheet" },
        h(
          "header",
          {},
          h("h2", { id: "details-title" }, subject(found)),
          h("button", { type: "button", class: "quiet", autofocus: true, onclick: () => this.dialog.close() }, "Close"),
        ),
        ...charts,
        pairs(facts(found)),
        ...legs(metadata),
        ...rest(metadata),
        h("p", { class: "hint" }, found.id),
      ),
    );
    this.dialog.showModal();
  }

  /** @param {string} symbol @param {import("./sparkline.js").Level[]} marks */
  #chart(symbol, marks) {
    const names = marks.map(({ name, value }) => h("span", { class: `level ${name}` }, `${name} ${price(value)}`));
    const place = h("div", { class: "chart" });
    this.prices.of(symbol).then((candles) => {
      place.append(candles.length ? sparkline(symbol, candles, { ...CHART, levels: marks }) : `No prices of ${symbol}`);
    });
    return h("figure", {}, place, h("figcaption", {}, h("span", {}, symbol), ...names));
  }
}

/** @param {Plain} found */
const levels = (found) =>
  ["entry", "exit", "stop"].flatMap((name) => {
    const value = found[`${name}_price`];
    return typeof value === "number" ? [{ name, value }] : [];
  });

/** @param {Plain} found @returns {[string, string][]} */
const facts = (found) => [
  ["Strategy", `${found.strategy_name} (${found.strategy_id})`],
  ["Kind", spoken(found.opportunity_type)],
  ["Exchange", found.exchange],
  ["Side", found.side],
  ["Confidence", `${score(found.confidence_score)} of 100`],
  ["Expected return", percent(found.expected_return)],
  ["Profit", `${dollars(found.profit_potential_usd)} on ${dollars(found.required_capital_usd)}`],
  ...levels(found).map(({ name, value }) => /** @type {[string, string]} */ ([
    `${name[0].toUpperCase()}${name.slice(1)} price`, [price(value), found.quote_currency].filter(Boolean).join(" "),
  ])),
  ...(found.quote_currency ? [/** @type {[string, string]} */ (["Quote currency", found.quote_currency])] : []),
  ["Hit rate", hitRate(found)],
  ["Risk", spoken(found.risk_level)],
  ["Horizon", found.estimated_timeframe],
  ["Found at", clock(found.discovered_at)],
];

/** @param {[string, string][]} told */
const pairs = (told) => h("dl", {}, ...told.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

/** @param {any} value whether it is legs: a list of objects */
const areLegs = (value) => Array.isArray(value) && value.length > 0 && value.every((leg) => leg && typeof leg === "object" && !Array.isArray(leg));

/** @param {Plain} metadata */
function legs({ legs: list }) {
  if (!areLegs(list)) return [];
  const names = [...new Set(/** @type {Plain[]} */ (list).flatMap((leg) => Object.keys(leg)))];
  const head = h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, spoken(name))));
  const rows = list.map((/** @type {Plain} */ leg) => h("tr", {}, ...names.map((name) => h("td", {}, plain(leg[name])))));
  const table = h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows));
  return [h("h3", {}, "Legs"), h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Legs" }, table)];
}

/** @param {Plain} metadata */
function rest(metadata) {
  const told = Object.entries(metadata).filter(([name, value]) => name !== "legs" || !areLegs(value));
  if (!told.length) return [];
  return [h("h3", {}, "What the strategy tells"), pairs(told.map(([name, value]) => [spoken(name), plain(value)]))];
}

/** @param {any} value @returns {string} */
function plain(value) {
  if (value === undefined || value === null) return "–";
  if (typeof value === "number") return price(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
