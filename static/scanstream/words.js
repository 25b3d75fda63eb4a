/** What is said of scans in words, wherever a scan is shown: one vocabulary, for the page and for `<scan-progress>`. Pure. */

/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {"scanning" | "complete" | "partial" | "failed" | "cancelled"} Verdict */

const PHASES = Object.freeze({ init: "Registered", queued: "Waiting for its turn", running: "Scanning", cancelling: "Being cancelled" });
const ENDS = Object.freeze({ complete: "Complete", partial: "Partly complete", failed: "Failed", cancelled: "Cancelled" });
/** By name; over the best there is nothing to say. */
const SLOWER = Object.freeze({ stream: "event stream", longpoll: "long polling", poll: "polling" });
/** The outcomes of a strategy that leave a scan without its results. */
const LACKING = ["failed", "timed_out"];

/** `max_age_seconds` → `max age seconds`. @param {string} name */
export const spoken = (name) => String(name ?? "").replaceAll("_", " ");

/** The strategies that have no result. @param {Plain} state @returns {string[]} */
export const lacking = ({ strategies = {} }) =>
  Object.keys(strategies).filter((id) => LACKING.includes(strategies[id].status));

/**
 * What became of a scan: as its status, but a complete one without the outcome of some strategies is `partial`.
 * @param {Plain} state
 * @returns {Verdict}
 */
export function verdict(state) {
  if (state.status !== "complete") return state.status;
  return lacking(state).length ? "partial" : "complete";
}

/** How it stands: `Scanning`, `Partly complete`. @param {Plain} state @returns {string} */
export function standing(state) {
  if (state.status === "scanning") return worded(PHASES, String(state.phase ?? "init"));
  return worded(ENDS, verdict(state));
}

/** How one of its strategies does: `running`, `timed out`. @param {Plain} strategy @returns {string} */
export const outcome = ({ status }) => spoken(String(status));

/** Over what a live connection comes: `Live`, `Live, slower: event stream`. @param {string | null} transport @returns {string} */
export function liveness(transport) {
  const slower = transport === null || transport === "websocket" ? "" : worded(SLOWER, transport);
  return slower ? `Live, slower: ${slower}` : "Live";
}

/**
 * Of a table what stands under a word that the server may say; the word itself, if it is not known here.
 * @param {object} table
 * @param {string} word
 * @returns {string}
 */
function worded(table, word) {
  return Object.hasOwn(table, word) ? /** @type {any} */ (table)[word] : spoken(word);
}
