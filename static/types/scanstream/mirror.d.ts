/** @typedef {import("./cursor.js").Position} Position */
/** @typedef {import("./patch.js").Plain} Plain */
/** A frame that does not follow from what is held, or is malformed: it is to be asked for again, from the cursor. */
export class GapError extends Error {
}
export class Mirror {
    /**
     * Begins where a reader was before: opportunities that came until then are not held.
     * @param {string} cursor
     */
    static since(cursor: string): Mirror;
    /** @type {Plain} */
    state: Plain;
    /** In the order of the log. @type {Plain[]} */
    opportunities: Plain[];
    /** @type {string | null} */
    cursor: string | null;
    /** How many opportunities came before the first one held, where a reader began at a cursor. */
    base: number;
    /** How often a snapshot has taken the place of what was held. */
    generation: number;
    /** Whether nothing more will come. */
    ended: boolean;
    /** Whether somebody wants more than is held: a snapshot, which brings all, is to come. */
    lacking: boolean;
    /**
     * Take a `snapshot`, an `update` or the `end`; what else there may be is ignored. Opportunities that are held already
     * are not taken again, and nothing is of an update from before what is held: one that came twice, or late. What was
     * handed out before stays as it was: `opportunities` alone grows.
     * @param {Plain} frame
     * @returns {boolean} whether it was a frame, and was taken
     * @throws {GapError} if it is malformed, or something is missing between what is held and the frame; then nothing has
     *   changed
     */
    apply(frame: Plain): boolean;
    #private;
}
export type Position = import("./cursor.js").Position;
export type Plain = import("./patch.js").Plain;
