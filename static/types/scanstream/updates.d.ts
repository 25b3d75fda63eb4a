/**
 * The cursor that is true for whoever has been told all of their part; null before that can be.
 * @param {Reader} reader
 * @param {Part} part
 * @returns {string | null}
 */
export function cursorOf({ mirror }: Reader, { only, start }: Part): string | null;
/**
 * All that is held of a part, in the order of the log.
 * @param {Reader} reader
 * @param {Part} part
 * @returns {readonly Plain[]}
 */
export function heldOf({ mirror: { opportunities, base } }: Reader, { only, start }: Part): readonly Plain[];
/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {import("./reader.js").Reader} Reader */
/**
 * @typedef {object} Part of a scan, what somebody wants of it
 * @property {"state" | undefined} only
 * @property {number} start so many opportunities of its log are not wanted
 */
/**
 * @typedef {object} Update
 * @property {Plain} state the newest
 * @property {Plain} patch leads from the state of the update before to this one
 * @property {Plain[]} opportunities those that are new since the update before
 * @property {string} cursor true for exactly what was told until now
 * @property {number} skipped revisions folded into this update beyond the first
 * @property {boolean} reset whether the server has begun anew: the state does not follow from the one before. What was
 *   told of opportunities before is not told again
 */
export class Updates {
    /** @param {Reader} reader @param {Part} [part] */
    constructor(reader: Reader, part?: Part);
    /** Whether there is something to tell. */
    get news(): boolean;
    /** What is new: all that is held, the first time. @returns {Update} */
    take(): Update;
    #private;
}
export type Plain = import("./patch.js").Plain;
export type Reader = import("./reader.js").Reader;
/**
 * of a scan, what somebody wants of it
 */
export type Part = {
    only: "state" | undefined;
    /**
     * so many opportunities of its log are not wanted
     */
    start: number;
};
export type Update = {
    /**
     * the newest
     */
    state: Plain;
    /**
     * leads from the state of the update before to this one
     */
    patch: Plain;
    /**
     * those that are new since the update before
     */
    opportunities: Plain[];
    /**
     * true for exactly what was told until now
     */
    cursor: string;
    /**
     * revisions folded into this update beyond the first
     */
    skipped: number;
    /**
     * whether the server has begun anew: the state does not follow from the one before. What was
     * told of opportunities before is not told again
     */
    reset: boolean;
};
