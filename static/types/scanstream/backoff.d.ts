/**
 * @param {number} failures in a row, this one too: 1 or more
 * @param {() => number} random from 0 to 1
 * @param {number} [retryAfter] seconds that the server asked for: the pause comes after them, lest all come at once
 * @returns {number} milliseconds
 */
export function pause(failures: number, random: () => number, retryAfter?: number): number;
/**
 * The same as a header has it (RFC 9110, section 10.2.3): seconds, or a date, by the sender's clock where it tells that.
 * @param {Headers} headers
 * @param {() => number} [now] milliseconds since 1970
 * @returns {number | undefined}
 */
export function retryAfterOf(headers: Headers, now?: () => number): number | undefined;
/** How long to wait before trying again: exponential, with full jitter above the shortest pause. Pure. */
export const SHORTEST_MS: 250;
export const LONGEST_MS: 10000;
/** Who asks to be left alone for longer is obeyed so far: within a minute of the end of any trouble a client is back. */
export const LONGEST_RETRY_AFTER_S: 55;
export function retryAfter(said: unknown): number | undefined;
