/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./attempt.js").Report} Report */
/** @typedef {import("./attempt.js").Tools} Tools */
/** @typedef {import("./pace.js").Turn} Turn */
/** @typedef {import("./patch.js").Plain} Plain */
/** So long the server may wait for news: short, so that a frozen line is noticed. */
export const WAIT_S: 10;
/** After so long without an answer the line is dead: within 15 s, though timers are late. */
export const SILENCE_MS: 14750;
/** @implements {Attempt} */
export class LongPollAttempt implements Attempt {
    /** @param {Tools} tools @param {Report} report */
    constructor(tools: Tools, report: Report);
    /** What is new is asked for at once. @param {readonly Followed[]} followed */
    follow(followed: readonly Followed[]): void;
    check(): void;
    close(): void;
    #private;
}
export type Verdict = import("./answers.js").Verdict;
export type Attempt = import("./attempt.js").Attempt;
export type Followed = import("./attempt.js").Followed;
export type Report = import("./attempt.js").Report;
export type Tools = import("./attempt.js").Tools;
export type Turn = import("./pace.js").Turn;
export type Plain = import("./patch.js").Plain;
