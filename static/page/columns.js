/** The columns of the table: what each shows, and by what it is sorted. */
import { h } from "./dom.js";
import { spoken } from "../scanstream/words.js";
import { dollars, hitRate, percent, score, subject } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */
/**
 * @typedef {object} Column
 * @property {string} id
 * @property {string} title
 * @property {(found: Plain) => any} [value] by what it is sorted
 * @property {boolean} [descending] at the first press
 * @property {(found: Plain) => string} text
 */

const RISKS = ["low", "medium", "high", "very_high"];
/** @type {Record<string, number>} */
const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** `21h` → 75600. @param {string} timeframe */
function seconds(timeframe) {
  const [, amount, unit] = /^([\d.]+)([smhdw])$/.exec(timeframe ?? "") ?? [];
  return unit ? Number(amount) * SECONDS[unit] : undefined;
}

/** @type {Column[]} */
export const COLUMNS = [
  { id: "symbol", title: "Symbol", value: subject, text: subject },
  { id: "prices", title: "Prices", text: () => "" },
  { id: "side", title: "Side", value: (it) => it.side, text: (it) => it.side },
  { id: "confidence", title: "Confidence", value: (it) => it.confidence_score, descending: true, text: (it) => score(it.confidence_score) },
  { id: "return", title: "Return", value: (it) => it.expected_return, descending: true, text: (it) => percent(it.expected_return) },
  { id: "profit", title: "Profit", value: (it) => it.profit_potential_usd, descending: true, text: (it) => dollars(it.profit_potential_usd) },
  { id: "horizon", title: "Horizon", value: (it) => seconds(it.estimated_timeframe), text: (it) => it.estimated_timeframe },
  { id: "hits", title: "Hit rate", value: (it) => (it.hit_rate_n ? it.hit_rate : undefined), descending: true, text: hitRate },
  { id: "risk", title: "Risk", value: (it) => RISKS.indexOf(it.risk_level), text: (it) => spoken(it.risk_level) },
  { id: "strategy", title: "Strategy", value: (it) => it.strategy_id, text: (it) => it.strategy_id },
];

export const RISK_LEVELS = RISKS;

/** @param {Plain} found @returns {HTMLTableRowElement} a row; its place is the window's matter */
export function row(found) {
  const cells = COLUMNS.map((column, index) => {
    const text = column.text(found);
    const kind = column.id === "side" ? found.side : column.id === "risk" ? found.risk_level : undefined;
    return h(
      "td",
      { role: "gridcell", "aria-colindex": index + 1, class: column.id, "data-kind": kind, title: ["symbol", "hits"].includes(column.id) ? text : undefined },
      text,
    );
  });
  return h("tr", { role: "row", tabindex: "-1", "data-id": found.id, "aria-selected": "false" }, ...cells);
}

/** The cell of a row that holds the prices. @param {Element} made @returns {Element} */
export const pricesOf = (made) => /** @type {Element} */ (made.querySelector(".prices"));
