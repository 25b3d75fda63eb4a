/**
 * What an answer means that is no success. Pure. Either an error that ends what was asked, or how the attempt was lost
 * (see ladder.js); held by tests/vectors/answers.json.
 */

import { retryAfter as inSeconds } from "./backoff.js";
import { ScanError } from "./errors.js";

/** @typedef {import("./ladder.js").Why} Why */
/** @typedef {import("./patch.js").Plain} Plain */
/**
 * @typedef {object} Verdict
 * @property {ScanError} error in the server's words, or ours
 * @property {Why | null} why null: it is final
 * @property {number} [retryAfter] seconds
 */

const PROBLEM = "urn:scanstream:error:";
/** Errors that pass, by docs/errors.md. */
const PASSING = new Set([
  "timeout", "rate_limited", "too_many_scans", "overloaded", "store_unavailable", "restarting", "internal",
]);
/** Errors that do not pass, though their status says so. */
const LASTING = new Set(["damaged"]);
/** The status of those that end a scan, by docs/errors.md: a socket does not say it. */
const STATUSES = new Map(Object.entries({
  invalid_message: 400, unauthorized: 401, forbidden: 403, not_found: 404, expired: 410, invalid_request: 422,
  too_many_subscriptions: 429, damaged: 500,
}));
/** Statuses of requests that are made again. */
const PASSING_STATUSES = new Set([408, 425, 429]);
/** What browsers call a socket that ended without a closing frame (RFC 6455, section 7.1.5). */
const ABNORMAL = 1006;

/**
 * An HTTP answer other than the one that was hoped for.
 * @param {number} status
 * @param {any} body the JSON; null where it is none
 * @param {number} [retryAfter] seconds, from its header
 * @returns {Verdict}
 */
export function ofHttp(status, body, retryAfter) {
  const [code, detail] = ours(body) ?? ["", ""];
  if (!code) {
    const words = `Something between here and the server ${did(status)}`;
    return lost("dropped", new ScanError("unreachable", words, { status, retryAfter }), retryAfter);
  }
  const errors = Array.isArray(body.errors) ? body.errors : [];
  const error = new ScanError(code, detail, { status, errors, retryAfter });
  const passing = PASSING.has(code) || PASSING_STATUSES.has(status) || (status >= 500 && !LASTING.has(code));
  return passing ? lost(whyOf(code), error, retryAfter) : { error, why: null };
}

/**
 * A message of type `error`.
 * @param {Plain} message
 * @returns {Verdict}
 */
export function ofMessage({ code = "internal", detail = "The server failed, and does not say how", errors, retry_after: said }) {
  const retryAfter = inSeconds(said);
  const more = { status: STATUSES.get(code), errors: Array.isArray(errors) ? errors : [], retryAfter };
  const error = new ScanError(String(code), String(detail), more);
  const passing = PASSING.has(error.code) || (retryAfter !== undefined && !LASTING.has(error.code));
  return passing ? lost(whyOf(error.code), error, retryAfter) : { error, why: null };
}

/**
 * A WebSocket that was closed.
 * @param {number} code
 * @param {string} [reason]
 * @returns {Verdict}
 */
export function ofClose(code, reason) {
  if (code === 4401) return final("unauthorized", reason || "The token is missing or has expired");
  if (code === 4403) return final("forbidden", reason || "This is not allowed");
  const unsaid = code === ABNORMAL ? "The connection was lost" : `The connection was closed (${code})`;
  const words = reason ? `The connection was closed: ${reason}` : unsaid;
  return lost(code === 1012 ? "restarting" : "dropped", new ScanError("unreachable", words));
}

/**
 * The WebSocket's handshake was answered in HTTP.
 * @param {number} [status] where it is known: browsers do not say
 * @returns {Verdict}
 */
export function ofHandshake(status) {
  const words = `WebSockets do not get through to the server${status ? ` (HTTP ${status})` : ""}`;
  return lost("no_upgrade", new ScanError("unreachable", words, { status }));
}

/** What a stranger's answer is, in words. A browser says nothing of a redirect but that it is one. @param {number} status */
const did = (status) => (status === 0 || (status >= 300 && status < 400) ? "sends elsewhere" : `answered with HTTP ${status}`);

/** The code and the words of a body of ours. @param {any} body @returns {[code: string, detail: string] | null} */
function ours(body) {
  if (typeof body !== "object" || body === null) return null;
  if (String(body.type).startsWith(PROBLEM) && typeof body.code === "string") return [body.code, String(body.detail ?? body.code)];
  const absent = body.success === false && (body.status === "not_found" || body.status === "expired");
  return absent ? [body.status, String(body.message ?? body.status)] : null;
}

/** @param {string} code @param {string} detail @returns {Verdict} */
const final = (code, detail) => ({ error: new ScanError(code, detail, { status: STATUSES.get(code) }), why: null });
/** @param {string} code @returns {Why} */
const whyOf = (code) => (code === "restarting" ? "restarting" : "dropped");

/** @param {Why} why @param {ScanError} error @param {number} [retryAfter] @returns {Verdict} */
const lost = (why, error, retryAfter) => ({ error, why, ...(retryAfter === undefined ? {} : { retryAfter }) });
