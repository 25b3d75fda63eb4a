/** How long to wait before trying again: exponential, with full jitter above the shortest pause. Pure. */

export const SHORTEST_MS = 250;
export const LONGEST_MS = 10_000;
/** Who asks to be left alone for longer is obeyed so far: within a minute of the end of any trouble a client is back. */
export const LONGEST_RETRY_AFTER_S = 55;
/** As RFC 9110, section 5.6.7, has servers write it. */
const DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/**
 * @param {number} failures in a row, this one too: 1 or more
 * @param {() => number} random from 0 to 1
 * @param {number} [retryAfter] seconds that the server asked for: the pause comes after them, lest all come at once
 * @returns {number} milliseconds
 */
export function pause(failures, random, retryAfter = 0) {
  const ceiling = Math.min(LONGEST_MS, SHORTEST_MS * 2 ** Math.min(failures, 32));
  return 1000 * retryAfter + SHORTEST_MS + random() * (ceiling - SHORTEST_MS);
}

/**
 * Seconds after which somebody wants to be asked again, as a message has it; nonsense is nothing.
 * @param {unknown} said
 * @returns {number | undefined}
 */
export const retryAfter = (said) =>
  typeof said === "number" && said >= 0 ? Math.min(said, LONGEST_RETRY_AFTER_S) : undefined;

/**
 * The same as a header has it (RFC 9110, section 10.2.3): seconds, or a date, by the sender's clock where it tells that.
 * @param {Headers} headers
 * @param {() => number} [now] milliseconds since 1970
 * @returns {number | undefined}
 */
export function retryAfterOf(headers, now = Date.now) {
  const said = headers.get("Retry-After")?.trim() ?? "";
  if (/^\d+$/.test(said)) return retryAfter(Number(said));
  if (!DATE.test(said)) return undefined;
  const sent = headers.get("Date")?.trim() ?? "";
  const seconds = (Date.parse(said) - (DATE.test(sent) ? Date.parse(sent) : now())) / 1000;
  return retryAfter(Math.max(0, seconds));
}
