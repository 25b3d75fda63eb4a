/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./attempt.js").Report} Report */
/** @typedef {import("./attempt.js").Tools} Tools */
/** The server sends a comment each 5 s; after so long without any byte the line is dead. */
export const SILENCE_MS: 12000;
/** @implements {Attempt} */
export class StreamAttempt implements Attempt {
    /** @param {Tools} tools @param {Report} report */
    constructor(tools: Tools, report: Report);
    /** Others than before are another request. @param {readonly Followed[]} followed */
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
