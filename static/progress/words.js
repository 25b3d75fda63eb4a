/** What one element says of a scan and of its connection, in words. Pure. */

import { liveness, outcome as became, standing as stands, verdict } from "../scanstream/words.js";

/** @typedef {import("../scanstream/line.js").Connection} Connection */
/** @typedef {import("../scanstream/patch.js").Plain} Plain */

/** What a generated market is called. */
const GENERATED = "synthetic";

/** How it stands. @param {Plain} state @returns {string} */
export const standing = (state) => (state.status ? stands(state) : "Connecting");

/** What is to be known beside that: why it failed, and that prices are generated. @param {Plain} state @returns {string} */
export function remark(state) {
  const { error, message, market, status } = state;
  const why = error?.detail ?? (verdict(state) === "partial" || status === "failed" ? message : "");
  const generated = market === GENERATED ? "The prices are generated; nothing in them is real." : "";
  return [why, generated].filter(Boolean).join(" ");
}

/** How much was found. @param {Plain} state @returns {string} */
export function count({ progress, total_opportunities: total }) {
  const found = Math.max(progress?.opportunities_found_so_far ?? 0, total ?? 0);
  return found === 1 ? "1 opportunity" : `${found.toLocaleString("en")} opportunities`;
}

/** When it will be over. @param {number | undefined} seconds @returns {string} */
export function remaining(seconds) {
  if (seconds === undefined) return "";
  if (seconds < 1) return "any moment now";
  const whole = Math.round(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (hours) return `about ${hours} h ${minutes} min left`;
  return minutes ? `about ${minutes} min ${whole % 60} s left` : `about ${whole} s left`;
}

/** One strategy. @param {Plain} strategy @returns {string} */
export function outcome({ status, shards_completed: done = 0, total_shards: total = 0, opportunities_found: found = 0, note, error }) {
  const parts = status === "running" && total ? ` ${done} of ${total}` : "";
  const why = typeof error === "object" ? error?.detail : error;
  return [`${became({ status })}${parts}, ${found.toLocaleString("en")} found`, why, note].filter(Boolean).join("; ");
}

/** How the line to the server is. @param {Connection} connection @param {number} now by `Date.now()` @returns {string} */
export function line({ state, transport, retryAt, reason }, now) {
  if (state === "live") return liveness(transport);
  if (state === "paused") return "Paused while nobody looks";
  if (state === "closed") return "Closed";
  if (state === "connecting") return transport ? "Connecting again" : "Connecting";
  const again = retryAt === null ? "" : `; next try ${retryAt > now ? `in ${Math.ceil((retryAt - now) / 1000)} s` : "now"}`;
  return `${reason ?? "The server does not answer"}${again}`;
}
