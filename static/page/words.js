/** How numbers and times are written for people. What is said of scans is in `../scanstream/words.js`. */

import { ScanError, Unreachable } from "../scanstream/errors.js";

/** @typedef {Record<string, any>} Plain JSON as the server sends it */

const whole = new Intl.NumberFormat("en");
const significant = new Intl.NumberFormat("en", { maximumSignificantDigits: 8 });
const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const times = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const zones = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" });
const NOTHING = "–";
const MOST_NAMED = 50;

/** @param {any} value */
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** With a minus that looks like one; what is nothing, or rounded to nothing, has none. @param {string} text */
const signed = (text) => text.replace(/^-(?=[$0.,]*$)/, "").replace("-", "−");

/** @param {any} value */
export const count = (value) => (isNumber(value) ? signed(whole.format(value)) : NOTHING);
/** @param {any} value */
export const price = (value) => (isNumber(value) ? signed(significant.format(value)) : NOTHING);
/** @param {any} value US dollars */
export const dollars = (value) => (isNumber(value) ? signed(`$${cents.format(value)}`.replace("$-", "-$")) : NOTHING);
/** @param {any} fraction */
export const percent = (fraction, digits = 2) =>
  isNumber(fraction) ? `${signed((100 * fraction).toFixed(digits))} %` : NOTHING;
/** @param {any} value from 0 to 100 */
export const score = (value) => (isNumber(value) ? value.toFixed(1) : NOTHING);
/** @param {Plain} found */
export const hitRate = (found) => (found.hit_rate_n ? `${percent(found.hit_rate, 0)} of ${count(found.hit_rate_n)}` : NOTHING);

/** @param {number} many @param {string} one @param {string} [more] */
export const plural = (many, one, more = `${one}s`) => `${count(many)} ${many === 1 ? one : more}`;

/**
 * A length of time: `0.4 s`, `12 s`, `2 min 5 s`, `3 h 10 min`, `2 d 4 h`.
 * @param {number} seconds
 */
export function duration(seconds) {
  if (!isNumber(seconds)) return NOTHING;
  if (seconds < 9.95) return `${seconds < 0.05 ? 0 : seconds.toFixed(1)} s`;
  const all = Math.round(seconds);
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min${all % 60 ? ` ${all % 60} s` : ""}`;
  const minutes = Math.round(all / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d${hours % 24 ? ` ${hours % 24} h` : ""}`;
}

/**
 * A time of day in the reader's zone, which is named; with its date where that is not today.
 * @param {string | number | Date} at
 */
export function clock(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return NOTHING;
  const zone = zones.formatToParts(date).find((part) => part.type === "timeZoneName")?.value;
  return [brief(date), zone].filter(Boolean).join(" ");
}

/** The same without the zone, where that is said beside it. @param {string | number | Date} at */
export function brief(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return NOTHING;
  return date.toDateString() === new Date().toDateString() ? times.format(date) : `${days.format(date)}, ${times.format(date)}`;
}

/** Several names as a text, the first of very many; undefined where they are no list, or an empty one. @param {any} names */
export function some(names, most = MOST_NAMED) {
  if (!Array.isArray(names) || !names.length) return undefined;
  const more = names.length - most;
  return `${names.slice(0, most).join(", ")}${more > 0 ? ` and ${count(more)} more` : ""}`;
}

/**
 * What tells a finding from others: its symbols, and the venues where its id names them (`…@alpha+beta:2026-…`).
 * @param {Plain} found
 */
export function subject(found) {
  const venues = /@(.+):\d{4}-/.exec(found.id ?? "")?.[1];
  return [(found.symbols ?? [found.symbol]).join(" + "), venues].filter(Boolean).join(" ");
}

/** An error as words, whatever was thrown. @param {any} error @returns {string} */
export const reason = (error) => String(error?.detail || error?.message || error || "It is not known why");

/** What the server said, where that had not passed when the time was over; else what error it is. @param {any} error @returns {string} */
export const codeOf = (error) => (error instanceof Unreachable && error.cause instanceof ScanError ? error.cause.code : error?.code);
