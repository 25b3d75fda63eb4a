/**
 * An HTTP answer other than the one that was hoped for.
 * @param {number} status
 * @param {any} body the JSON; null where it is none
 * @param {number} [retryAfter] seconds, from its header
 * @returns {Verdict}
 */
export function ofHttp(status: number, body: any, retryAfter?: number): Verdict;
/**
 * A message of type `error`.
 * @param {Plain} message
 * @returns {Verdict}
 */
export function ofMessage({ code, detail, errors, retry_after: said }: Plain): Verdict;
/**
 * A WebSocket that was closed.
 * @param {number} code
 * @param {string} [reason]
 * @returns {Verdict}
 */
export function ofClose(code: number, reason?: string): Verdict;
/**
 * The WebSocket's handshake was answered in HTTP.
 * @param {number} [status] where it is known: browsers do not say
 * @returns {Verdict}
 */
export function ofHandshake(status?: number): Verdict;
export type Why = import("./ladder.js").Why;
export type Plain = import("./patch.js").Plain;
export type Verdict = {
    /**
     * in the server's words, or ours
     */
    error: ScanError;
    /**
     * null: it is final
     */
    why: Why | null;
    /**
     * seconds
     */
    retryAfter?: number | undefined;
};
import { ScanError } from "./errors.js";
