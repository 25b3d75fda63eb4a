/** Cursors: where a reader is, in one word. Opaque but for what section 2 of docs/protocol.md says of its parts. */

const CURSOR = /^([0-9a-z]{1,32})-(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})$/;

/**
 * @typedef {object} Position
 * @property {string} epoch of the log that it is a place in
 * @property {number} seq the state is as of this entry
 * @property {number} n so many opportunities are held
 */

/**
 * Its parts; null where it is none that this version knows.
 * @param {string} text
 * @returns {Position | null}
 */
export function parse(text) {
  const match = CURSOR.exec(text);
  return match && { epoch: match[1], seq: Number(match[2]), n: Number(match[3]) };
}

/**
 * The same place in a log, with another number of opportunities held; as it is where this version cannot read it.
 * @param {string} text
 * @param {(n: number) => number} count
 */
export function recounted(text, count) {
  const place = parse(text);
  return place === null ? text : `${place.epoch}-${place.seq}.${count(place.n)}`;
}

/**
 * Revisions folded together on the way between two cursors, beyond the first: what an update calls `skipped`.
 * @param {string | null} from
 * @param {string} to
 */
export function skipped(from, to) {
  const [before, after] = [parse(from ?? ""), parse(to)];
  if (!before || !after || before.epoch !== after.epoch || before.seq === 0) return 0;
  return Math.max(0, after.seq - before.seq - 1);
}
