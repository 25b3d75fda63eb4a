/** How a line is, as its user may see it. Pure; tests/vectors/connection.json holds it. */
/**
 * @typedef {object} Connection
 * @property {"connecting" | "live" | "waiting" | "paused" | "closed"} state
 * @property {string | null} transport what brought the last frame
 * @property {number} attempts since the last frame
 * @property {number | null} retryAt when the next attempt begins, by `Date.now()`
 * @property {number | null} lag how long the server took for its last answer, in milliseconds
 * @property {string | null} reason why it is not live, or not on the best rung, in words for people
 */
/** @type {Connection} */
export const IDLE: Connection;
export class Condition {
    /** @param {(connection: Connection) => void} told called when it has changed */
    constructor(told: (connection: Connection) => void);
    connection: Connection;
    /** One begins. @param {number} attempts since the last frame */
    attempt(attempts: number): void;
    /** A frame came; over the best rung or another. @param {string} transport @param {boolean} best */
    frame(transport: string, best: boolean): void;
    /** Something came that is no frame: enough where the last frame came over this rung, too. @param {string} transport @param {boolean} best */
    alive(transport: string, best: boolean): void;
    /**
     * It is lost, and the next attempt comes at a time.
     * @param {string} reason
     * @param {number | null} retryAt
     * @param {boolean} left whether for a worse rung
     */
    wait(reason: string, retryAt: number | null, left: boolean): void;
    /** @param {Partial<Connection>} changes */
    tell(changes: Partial<Connection>): void;
    #private;
}
export type Connection = {
    state: "connecting" | "live" | "waiting" | "paused" | "closed";
    /**
     * what brought the last frame
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
