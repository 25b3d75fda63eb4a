/**
 * `held` with `patch` on it; of two patches, the one that does both. Changes neither.
 * @param {Plain} held
 * @param {Plain} patch
 * @returns {Plain}
 */
export function merge(held: Plain, patch: Plain): Plain;
/**
 * The smallest patch with `merge(before, diff(before, after))` equal to `after`, where nothing has vanished.
 * @param {Plain} before
 * @param {Plain} after
 * @returns {Plain}
 */
export function diff(before: Plain, after: Plain): Plain;
export function isObject(value: unknown): value is Plain;
/**
 * a JSON object
 */
export type Plain = Record<string, any>;
