/** Prices as a line: a small one in a row, a large one with the levels of a finding. */
import { price } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const INSET = 2;

/** @typedef {[time: number | string, open: number, high: number, low: number, close: number, volume: number]} Candle */
/** @typedef {{ name: string, value: number }} Level */

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {Node[]} content
 */
function svg(tag, attributes, ...content) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...content);
  return made;
}

/** The closes of these candles; null where there was no trade. @param {Candle[]} candles @returns {(number | null)[]} */
export const closes = (candles) =>
  candles.map((candle) => (typeof candle[4] === "number" && Number.isFinite(candle[4]) ? candle[4] : null));

/**
 * The line of some values as an SVG path; a gap where one is null.
 * @param {(number | null)[]} values
 * @param {(index: number) => number} x
 * @param {(value: number) => number} y
 */
export function path(values, x, y) {
  let pen = "M";
  return values
    .map((value, index) => {
      if (value === null) return (pen = "M"), "";
      const piece = `${pen}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return piece;
    })
    .join("");
}

/**
 * A picture of prices. Who cannot see it is told its first and last price.
 * @param {string} symbol
 * @param {Candle[]} candles
 * @param {{ width: number, height: number, levels?: Level[] }} size
 * @returns {Element}
 */
export function sparkline(symbol, candles, { width, height, levels = [] }) {
  const values = closes(candles);
  const known = /** @type {number[]} */ (values.filter((value) => value !== null));
  const words = known.length
    ? `${symbol}, the last ${known.length} prices: from ${price(known[0])} to ${price(known[known.length - 1])}`
    : `${symbol}: no prices`;
  const shown = [...known, ...levels.map((level) => level.value)];
  const [least, most] = [Math.min(...shown), Math.max(...shown)];
  const x = (/** @type {number} */ index) => INSET + (index * (width - 2 * INSET)) / Math.max(1, values.length - 1);
  const y = (/** @type {number} */ value) =>
    most > least ? INSET + ((most - value) * (height - 2 * INSET)) / (most - least) : height / 2;
  const rising = known.length > 1 && known[known.length - 1] >= known[0];
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words, class: rising ? "up" : "down" });
  for (const { name, value } of levels) {
    picture.append(
      svg("line", { x1: 0, x2: width, y1: y(value).toFixed(1), y2: y(value).toFixed(1), class: `level ${name}` }),
    );
  }
  picture.append(svg("path", { d: path(values, x, y), class: "line", fill: "none" }));
  return picture;
}
