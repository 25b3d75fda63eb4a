/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {import("./reader.js").Reader} Reader */
/** @typedef {import("./rungs.js").Rungs} Rungs */
/** @typedef {import("./condition.js").Connection} Connection */
/**
 * @typedef {object} Held an attempt that is under way
 * @property {string} rung
 * @property {Attempt} attempt
 * @property {boolean} asks whether it has yet to show that it brings frames, before anything else is asked of it
 */
/** Scans that one connection may follow. */
export const MOST_SCANS: 256;
export class Line {
    /**
     * @param {object} given
     * @param {Rungs} given.rungs
     * @param {import("./surroundings.js").Surroundings} given.around
     * @param {readonly string[]} given.transports
     * @param {(connection: Connection) => void} given.told called when it has changed
     */
    constructor({ rungs, around, transports, told }: {
        rungs: Rungs;
        around: import("./surroundings.js").Surroundings;
        transports: readonly string[];
        told: (connection: Connection) => void;
    });
    get connection(): import("./condition.js").Connection;
    /** Whether it can follow this one, too. @param {Reader} reader */
    takes({ scanId }: Reader): boolean;
    /** @param {Reader} reader */
    has(reader: Reader): boolean;
    /** @param {Reader} reader */
    add(reader: Reader): void;
    /** @param {Reader} reader @returns {boolean} whether it was there */
    remove(reader: Reader): boolean;
    /** More of this one is wanted than before. @param {Reader} reader */
    widen(reader: Reader): void;
    /** Begin anew, now. */
    reconnect(): void;
    /** Nobody looks: what keeps a connection from others is left. */
    hide(): void;
    /** Nobody looks for long. */
    pause(): void;
    /** Somebody looks, or the network is back: one check. */
    look(): void;
    close(): void;
    #private;
}
export type Verdict = import("./answers.js").Verdict;
export type Attempt = import("./attempt.js").Attempt;
export type Plain = import("./patch.js").Plain;
export type Reader = import("./reader.js").Reader;
export type Rungs = import("./rungs.js").Rungs;
export type Connection = import("./condition.js").Connection;
/**
 * an attempt that is under way
 */
export type Held = {
    rung: string;
    attempt: Attempt;
    /**
     * whether it has yet to show that it brings frames, before anything else is asked of it
     */
    asks: boolean;
};
