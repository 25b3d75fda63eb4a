/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {import("./reader.js").Reader} Reader */
/** @typedef {import("./rungs.js").Rungs} Rungs */
/**
 * @typedef {object} Connection how the line is
 * @property {"connecting" | "live" | "waiting" | "paused" | "closed"} state
 * @property {string | null} transport what brought the last frame; after a step down what answers now
 * @property {number} attempts since the last frame
 * @property {number | null} retryAt when the next attempt begins, by `Date.now()`
 * @property {number | null} lag how long the server took for its last answer, in milliseconds
 * @property {string | null} reason why it is not live, or not on the best rung, in words for people
 */
/** @typedef {{ attempt: Attempt, rung: string }} Held an attempt that is under way */
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
    /** @type {Connection} */
    connection: Connection;
    /** Whether it can follow this one, too. @param {Reader} reader */
    takes({ scanId }: Reader): boolean;
    /** @param {Reader} reader */
    add(reader: Reader): void;
    /** @param {Reader} reader @returns {boolean} whether it was there */
    remove(reader: Reader): boolean;
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
/**
 * how the line is
 */
export type Connection = {
    state: "connecting" | "live" | "waiting" | "paused" | "closed";
    /**
     * what brought the last frame; after a step down what answers now
     */
    transport: string | null;
    /**
     * since the last frame
     */
    attempts: number;
    /**
     * when the next attempt begins, by `Date.now()`
     */
    retryAt: number | null;
    /**
     * how long the server took for its last answer, in milliseconds
     */
    lag: number | null;
    /**
     * why it is not live, or not on the best rung, in words for people
     */
    reason: string | null;
};
/**
 * an attempt that is under way
 */
export type Held = {
    attempt: Attempt;
    rung: string;
};
