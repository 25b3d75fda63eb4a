export const RUNGS: string[];
/** Attempts in a row without a frame that cost a rung. */
export const BARREN: 3;
export const FIRST_CLIMB_MS: 5000;
export const LONGEST_CLIMB_MS: 60000;
/**
 * From the first of three attempts on a rung to the third: at most two within 500 ms where they arrive, though a busy
 * machine or network brings the first one late.
 */
export const THREE_MS: 750;
/**
 * @typedef {"refused" | "restarting" | "dropped" | "silent" | "no_upgrade" | "crowded"} Why
 *   `refused`: nobody listens; `restarting`: the server said so; `dropped`: any other loss of a connection, also an
 *   answer that is none of ours; `silent`: nothing came for longer than there may be silence; `no_upgrade`: the WebSocket
 *   handshake was answered in HTTP; `crowded`: the browser has no connection to spare for one that stays open.
 * @typedef {{ rung: string, at: number }} Due an attempt, and when it is to begin
 */
export class Ladder {
    /**
     * @param {object} given
     * @param {readonly string[]} [given.rungs] the best first
     * @param {() => number} given.random from 0 to 1; asked once for each pause
     */
    constructor({ rungs, random }: {
        rungs?: readonly string[] | undefined;
        random: () => number;
    });
    /** The attempt to begin on the rung that is used; null while one is under way. @type {Due | null} */
    next: Due | null;
    /** The attempt to begin on a better rung; null on the best, and while one is under way. @type {Due | null} */
    climb: Due | null;
    /** Attempts since the last frame. */
    attempts: number;
    /** The rung that is used. */
    get rung(): string;
    /** A connection is wanted from now on: at first, and after `stop`. @param {number} at */
    start(at: number): void;
    /** No connection is wanted: what was under way is given up. */
    stop(): void;
    /** The attempt that was due begins. @param {string} rung @param {number} at */
    began(rung: string, at: number): void;
    /** A snapshot, an update or the end came: what brings one is proven. @param {string} rung @param {number} at */
    frame(rung: string, at: number): void;
    /**
     * The attempt on this rung is over.
     * @param {string} rung
     * @param {Why} why
     * @param {number} at
     * @param {number} [retryAfter] seconds that the server asked for
     */
    lost(rung: string, why: Why, at: number, retryAfter?: number): void;
    /** The network is back, or somebody looks: no pause is waited out. @param {number} at */
    online(at: number): void;
    #private;
}
/**
 * `refused`: nobody listens; `restarting`: the server said so; `dropped`: any other loss of a connection, also an
 * answer that is none of ours; `silent`: nothing came for longer than there may be silence; `no_upgrade`: the WebSocket
 * handshake was answered in HTTP; `crowded`: the browser has no connection to spare for one that stays open.
 */
export type Why = "refused" | "restarting" | "dropped" | "silent" | "no_upgrade" | "crowded";
/**
 * an attempt, and when it is to begin
 */
export type Due = {
    rung: string;
    at: number;
};
