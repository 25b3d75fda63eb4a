/** @typedef {import("./clock.js").Clock} Clock */
export class Pace {
    /** @param {Clock} clock */
    constructor(clock: Clock);
    /**
     * Waits until the next may be made: 250 ms after the last one, 600 after the one before.
     * @param {AbortSignal} [signal]
     */
    turn(signal?: AbortSignal): Promise<void>;
    #private;
}
export type Clock = import("./clock.js").Clock;
