/**
 * @param {number} failures in a row, this one too: 1 or more
 * @param {() => number} random from 0 to 1
 * @param {number} [retryAfter] seconds that the server asked for: the pause comes after them, lest all come at once
 * @returns {number} milliseconds
 */
export function pause(failures: number, random: () => number, retryAfter?: number): number;
/** How long to wait before trying again: exponential, with full jitter above the shortest pause. Pure. */
export const SHORTEST_MS: 250;
export const LONGEST_MS: 10000;
