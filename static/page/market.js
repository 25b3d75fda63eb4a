/** What is scanned: in a line at the top, and whole in a card of its own. */
import { h, write } from "./dom.js";
import { clock, count, plural, some } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */

const MOST_GAPS = 20;
const MOST_QUOTED = 8;

/** The market of the scan on show, which may be of another time; nothing where there is none. @param {string} name */
export function shown(name) {
  const { dataset } = document.documentElement;
  if (dataset.shown !== name) dataset.shown = name;
}

/** Whether it is not what the server scans, as far as is known. @param {string} name */
export const isOther = (name) => document.documentElement.dataset.market !== name;

/** @param {string} name of what the server scans; the first paint has it already, there may be another by now */
function serves(name) {
  if (isOther(name)) document.documentElement.dataset.market = name;
}

/**
 * @param {Plain} market as `GET /opportunities/market` tells it
 * @param {{ line: Element, facts: Element, card: HTMLElement }} places
 */
export function show(market, { line, facts, card }) {
  serves(market.market);
  const newest = market.scanned ?? market.last;
  write(line, `${market.market} · ${plural(market.symbols.length, "symbol")} · ${market.timeframe} · prices until ${clock(newest)}`);
  facts.replaceChildren(...told(market).map(([title, value]) => h("div", {}, h("dt", {}, title), h("dd", {}, value))));
  card.hidden = false;
}

/** @param {Plain} market @returns {[string, string][]} */
function told({ market, symbols, timeframe, bars, first, last, scanned, has, ahead, behind, gaps, venues, quoted, failed }) {
  const there = Object.keys(has).filter((input) => has[input]);
  const missing = Object.keys(has).filter((input) => !has[input]);
  const apart = Object.entries(behind ?? {}).map(([symbol, number]) => `${symbol} ends ${plural(number, "bar")} earlier`);
  const later = Object.entries(ahead ?? {}).map(([symbol, number]) => `of ${symbol} ${plural(number, "later bar")}`);
  /** @type {[string, string | undefined][]} */
  const pairs = [
    ["Market", market === "synthetic" ? "synthetic: generated, nothing in it is real" : market],
    ["Symbols", count(symbols.length)],
    ["Bars", `${count(bars)} of ${timeframe} each`],
    ["First", clock(first)],
    ["Last", clock(last)],
    ["Scanned until", scanned && scanned !== last ? clock(scanned) : undefined],
    ["It has", there.join(", ") || "nothing"],
    ["It lacks", missing.join(", ")],
    ["Venues", some(venues)],
    ["Quoted", some(quoted, MOST_QUOTED)],
    ["Not to be had", some(Object.entries(failed ?? {}).map(([what, why]) => `${what}: ${why}`))],
    ["Behind", some(apart)],
    ["Left out", some(later)],
    ["Gaps", missed(gaps ?? {})],
  ];
  return pairs.filter((one) => one[1]).map(([title, value]) => [title, String(value)]);
}

/** @param {Record<string, Plain[]>} gaps by symbol; `*` are the bars that no symbol has */
function missed(gaps) {
  const all = Object.entries(gaps).filter(([, runs]) => runs.length);
  if (!all.length) return "none";
  const pieces = all.map(([symbol, runs]) => {
    const bars = runs.reduce((sum, run) => sum + run.bars, 0);
    return `${symbol === "*" ? "all symbols" : symbol}: ${plural(bars, "bar")} in ${plural(runs.length, "gap")}, the last from ${clock(runs[runs.length - 1].first)}`;
  });
  const more = pieces.length - MOST_GAPS;
  return [...pieces.slice(0, MOST_GAPS), ...(more > 0 ? [`and ${count(more)} more`] : [])].join("; ");
}
