/**
 * A status answer as the frames that the other rungs would have brought.
 * @param {Plain} body
 * @param {Followed} followed
 * @returns {Plain[]}
 */
export function framesOf(body: Plain, { scanId, cursor: held }: Followed): Plain[];
/** @implements {Attempt} */
export class PollAttempt implements Attempt {
    /** @param {Tools} tools @param {Report} report */
    constructor(tools: Tools, report: Report);
    /** @param {readonly Followed[]} followed */
    follow(followed: readonly Followed[]): void;
    check(): void;
    close(): void;
    #private;
}
export type Attempt = import("./attempt.js").Attempt;
export type Followed = import("./attempt.js").Followed;
export type Report = import("./attempt.js").Report;
export type Tools = import("./attempt.js").Tools;
export type Turn = import("./pace.js").Turn;
export type Plain = import("./patch.js").Plain;
