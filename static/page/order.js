/** What was found, sorted and filtered: new finds are merged in, nothing is sorted twice. */

/** @typedef {import("./words.js").Plain} Plain */
/** @typedef {(a: Plain, b: Plain) => number} Compare a total order: equal only what is the same */

/** @param {string} a @param {string} b */
const byText = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/**
 * By a value, what has none last in either direction; equal ones by id.
 * @param {(found: Plain) => any} value
 * @param {boolean} descending
 * @returns {Compare}
 */
export function by(value, descending) {
  const sign = descending ? -1 : 1;
  return (a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === undefined || right === undefined) {
      return Number(left === undefined) - Number(right === undefined) || byText(a.id, b.id);
    }
    return (left < right ? -sign : left > right ? sign : 0) || byText(a.id, b.id);
  };
}

export class Order {
  /** @type {Plain[]} as they were found */
  all = [];
  /** @type {Plain[]} as they are shown */
  rows = [];

  /** @param {Compare} compare */
  constructor(compare) {
    this.compare = compare;
    /** @type {(found: Plain) => boolean} */
    this.accepts = () => true;
  }

  /** @param {Plain[]} found what is new */
  add(found) {
    for (const one of found) this.all.push(one);
    const fresh = found.filter(this.accepts).sort(this.compare);
    if (fresh.length) this.rows = this.#merged(fresh);
  }

  clear() {
    [this.all, this.rows] = [[], []];
  }

  /** Another order, or another filter. @param {Compare} compare @param {(found: Plain) => boolean} accepts */
  arrange(compare, accepts) {
    this.compare = compare;
    this.accepts = accepts;
    this.rows = this.all.filter(accepts).sort(compare);
  }

  /** Where it stands among the rows, or would. @param {Plain} found */
  place(found) {
    let [low, high] = [0, this.rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.compare(this.rows[middle], found) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @param {Plain[]} fresh sorted */
  #merged(fresh) {
    const { rows, compare } = this;
    if (!rows.length || compare(rows[rows.length - 1], fresh[0]) < 0) return [...rows, ...fresh];
    const merged = new Array(rows.length + fresh.length);
    for (let to = 0, left = 0, right = 0; to < merged.length; to += 1) {
      const old = right >= fresh.length || (left < rows.length && compare(rows[left], fresh[right]) <= 0);
      merged[to] = old ? rows[left++] : fresh[right++];
    }
    return merged;
  }
}
