/**
 * Waits, unless the signal says to leave.
 * @param {Clock} clock
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>} rejects with the signal's reason
 */
export function wait(clock: Clock, ms: number, signal?: AbortSignal): Promise<void>;
/**
 * A signal that is aborted with another one, or after a time; `done` lets go of both.
 * @param {Clock} clock
 * @param {number} ms
 * @param {AbortSignal} [signal]
 */
export function deadline(clock: Clock, ms: number, signal?: AbortSignal): {
    signal: AbortSignal;
    over: {
        reached: boolean;
    };
    done: () => void;
};
/** @type {Clock} */
export const CLOCK: Clock;
export type Clock = {
    /**
     * milliseconds; never goes back
     */
    now: () => number;
    /**
     * calls once, unless what it returns is called before
     */
    after: (ms: number, call: () => void) => () => void;
};
