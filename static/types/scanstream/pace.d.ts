/** @typedef {import("./clock.js").Clock} Clock */
/**
 * @typedef {object} Turn one request
 * @property {number} at when it was made, or, as soon as that is known, by when it has arrived
 * @property {boolean} left whether nobody waits for its answer, so that only that of a later one tells
 */
export class Pace {
    /** @param {Clock} clock */
    constructor(clock: Clock);
    /**
     * As soon after this time as the next may be made: 250 ms after the last one, 750 after the one before; later where
     * nothing is known of either.
     * @param {number} at
     */
    due(at: number): number;
    /** One is made, due or not. @returns {Turn} */
    began(at?: number): Turn;
    /** Nobody waits for its answer any more. @param {Turn} turn */
    left(turn: Turn): void;
    /**
     * This one is over, answered or lost: it has arrived at some time until now, which may be long after it was made. So
     * have those before it that nobody waits for: a browser sends them in their order, however long it holds them up.
     * @param {Turn} turn
     */
    over(turn: Turn): void;
    /** Waits until the next may be made; it is made then. @param {AbortSignal} [signal] @returns {Promise<Turn>} */
    turn(signal?: AbortSignal): Promise<Turn>;
    #private;
}
export type Clock = import("./clock.js").Clock;
/**
 * one request
 */
export type Turn = {
    /**
     * when it was made, or, as soon as that is known, by when it has arrived
     */
    at: number;
    /**
     * whether nobody waits for its answer, so that only that of a later one tells
     */
    left: boolean;
};
