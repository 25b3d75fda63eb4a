/** What every rung offers: one attempt to follow scans over it. */

import { ofHttp } from "./answers.js";
import { Unreachable } from "./errors.js";
import { Lost, refused } from "./requests.js";

/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./ladder.js").Why} Why */
/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {import("./requests.js").Requests} Requests */
/** @typedef {import("./surroundings.js").Surroundings} Surroundings */
/**
 * @typedef {object} Followed a scan, and where its reader is
 * @property {string} scanId
 * @property {string | null} cursor as of now
 * @property {"state" | undefined} only
 * @property {boolean} [over] whether nothing more will come
 */
/**
 * @typedef {object} Report what an attempt tells whoever made it
 * @property {() => void} alive the server answers
 * @property {(message: Plain) => void} message a frame or an error, of a scan that is followed
 * @property {(ms: number) => void} lag how long the last answer took
 * @property {(verdict: Verdict) => void} lost the attempt is over; told once, and nothing after it
 */
/**
 * @typedef {object} Attempt
 * @property {(followed: readonly Followed[]) => void} follow these and no others, those that are new from their cursors
 * @property {() => void} check somebody looks, or the network has changed: find out soon whether the line is alive
 * @property {() => void} close without a word
 */
/**
 * @typedef {object} Tools
 * @property {Surroundings} around
 * @property {Requests} requests
 * @property {import("./pace.js").Pace} pace of this rung
 * @property {{ opened: boolean }} history of this rung: whether a connection of it has come about before
 */

/**
 * A scan of which nothing has come for so long is asked for anew from where its reader is. What was lost on the way comes
 * with that, also where nothing follows that would show the gap: the end, or the last frame before a long silence.
 */
export const QUIET_MS = 15_000;

/** @param {readonly Followed[]} followed what `POST /opportunities/follow` takes */
export const wanted = (followed) =>
  followed.map(({ scanId, cursor, only }) => ({
    scan_id: scanId,
    ...(cursor === null ? {} : { since: cursor }),
    ...(only === undefined ? {} : { only }),
  }));

/**
 * How a request was lost. Where it did not even bring an answer and the error does not say why, only another question
 * tells whether somebody is there.
 * @param {Requests} requests
 * @param {unknown} error
 * @param {AbortSignal} signal
 * @returns {Promise<Verdict>}
 */
export async function lossOf(requests, error, signal) {
  const { verdict, cause } = error instanceof Lost ? error : { verdict: null, cause: error };
  if (verdict && (verdict.error.status !== undefined || verdict.why !== "dropped")) return verdict;
  const away = refused(verdict?.error.cause ?? cause) ?? (await requests.away(signal));
  const unreachable = verdict?.error ?? new Unreachable("The connection to the server was lost", { cause: error });
  return { error: unreachable, why: away ? "refused" : "dropped" };
}

/** An open connection said nothing for too long. @param {string} what @returns {Verdict} */
export const silence = (what) => ({ error: new Unreachable(`${what} fell silent`), why: "silent" });

/** A connection that did not come about in time. @param {string} what @returns {Verdict} */
export const stuck = (what) => ({ error: new Unreachable(`${what} does not come about`), why: "dropped" });

/** The answer is somebody else's. @param {number} status @returns {Verdict} */
export const foreign = (status) => ofHttp(status, null);
