/** What was found, as files: JSON as the server sends it, CSV as spreadsheets read it. */

/** @typedef {import("./words.js").Plain} Plain */

const COLUMNS = [
  "id", "strategy_id", "strategy_name", "opportunity_type", "symbol", "symbols", "exchange", "side", "entry_price",
  "exit_price", "stop_price", "quote_currency", "expected_return", "profit_potential_usd", "required_capital_usd",
  "confidence_score", "hit_rate", "hit_rate_n", "risk_level", "estimated_timeframe", "discovered_at", "metadata",
];
const MARK = "\ufeff"; // so that spreadsheets read UTF-8

/**
 * One cell (RFC 4180). A text that a spreadsheet would take for a formula is led by an apostrophe, also where that begins
 * with a letter of full width; and what a spreadsheet of another country takes for a border between cells is within quotes.
 * @param {any} value
 * @returns {string}
 */
export function cell(value) {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return String(value);
  const text = Array.isArray(value) && value.every((piece) => typeof piece === "string") ? value.join("+") : plain(value);
  const safe = /^\s*[=+\-@＝＋－＠]|^[\t\r\n]/.test(text) ? `'${text}` : text;
  return /[",;\t\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** @param {any} value */
const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** @param {Plain[]} found @returns {string} */
export function csv(found) {
  const lines = [COLUMNS.join(","), ...found.map((one) => COLUMNS.map((name) => cell(one[name])).join(","))];
  return `${MARK}${lines.join("\r\n")}\r\n`;
}

/** With the state, so that the file says what was asked, of which market, and how it ended. @param {Plain} state @param {Plain[]} found */
export const json = (state, found) => JSON.stringify({ ...state, opportunities: found }, null, 1);

/**
 * Hands the browser a file.
 * @param {string} name
 * @param {string} type
 * @param {string} text
 */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // a browser may ask where to put it first
}
