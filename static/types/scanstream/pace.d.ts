/** @typedef {import("./clock.js").Clock} Clock */
export class Pace {
    /** @param {Clock} clock */
    constructor(clock: Clock);
    /** As soon after this time as the next may be made: 250 ms after the last one, 750 after the one before. @param {number} at */
    due(at: number): number;
    /** One is made, due or not. */
    began(at?: number): void;
    /** The last one is over: it has arrived at some time until now, which may be long after it was made. */
    answered(): void;
    /** Waits until the next may be made; it is made then. @param {AbortSignal} [signal] */
    turn(signal?: AbortSignal): Promise<void>;
    #private;
}
export type Clock = import("./clock.js").Clock;
