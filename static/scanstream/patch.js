/**
 * Patches: how one state becomes a later one. RFC 7396 in a dialect without null (docs/protocol.md, section 2): no field
 * vanishes and an object stays an object, so patches compose key by key, and a whole state is a patch from every earlier.
 */

/** @typedef {Record<string, any>} Plain a JSON object */

/** @param {unknown} value @returns {value is Plain} */
export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
/** Not what every object inherits: a strategy may be called `constructor`. @param {Plain} of @param {string} key */
const own = (of, key) => (Object.hasOwn(of, key) ? of[key] : undefined);

/**
 * `held` with `patch` on it; of two patches, the one that does both. Changes neither.
 * @param {Plain} held
 * @param {Plain} patch
 * @returns {Plain}
 */
export function merge(held, patch) {
  const changed = Object.entries(patch).map(([key, value]) => {
    const before = own(held, key);
    return /** @type {const} */ ([key, isObject(before) && isObject(value) ? merge(before, value) : value]);
  });
  return Object.fromEntries([...Object.entries(held), ...changed]);
}

/**
 * The smallest patch with `merge(before, diff(before, after))` equal to `after`, where nothing has vanished.
 * @param {Plain} before
 * @param {Plain} after
 * @returns {Plain}
 */
export function diff(before, after) {
  /** @type {[string, any][]} */
  const changes = [];
  for (const [key, value] of Object.entries(after)) {
    const held = own(before, key);
    if (same(held, value)) continue;
    changes.push([key, isObject(held) && isObject(value) ? diff(held, value) : value]);
  }
  return Object.fromEntries(changes);
}

/** Whether two JSON values are equal. @param {any} one @param {any} other @returns {boolean} */
function same(one, other) {
  if (one === other) return true;
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((value, index) => same(value, other[index]));
  }
  if (!isObject(one) || !isObject(other)) return false;
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => Object.hasOwn(other, key) && same(one[key], other[key]));
}
