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
export function parse(text: string): Position | null;
/**
 * The same place in a log, with another number of opportunities held; as it is where this version cannot read it.
 * @param {string} text
 * @param {(n: number) => number} count
 */
export function recounted(text: string, count: (n: number) => number): string;
/**
 * Revisions folded together on the way between two cursors, beyond the first: what an update calls `skipped`.
 * @param {string | null} from
 * @param {string} to
 */
export function skipped(from: string | null, to: string): number;
export type Position = {
    /**
     * of the log that it is a place in
     */
    epoch: string;
    /**
     * the state is as of this entry
     */
    seq: number;
    /**
     * so many opportunities are held
     */
    n: number;
};
