/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./attempt.js").Report} Report */
/** @typedef {import("./attempt.js").Tools} Tools */
/** @typedef {import("./patch.js").Plain} Plain */
export const SUBPROTOCOL: "scanstream.v1.json";
/** A CONNECTING socket is given up after so long. */
export const CONNECTING_MS: 10000;
/** After so long without a message the other side is asked. */
export const PING_MS: 10000;
/** It has so long to answer: within 15 s of its last word, though timers are late. */
export const PONG_MS: 4750;
/** @implements {Attempt} */
export class WebSocketAttempt implements Attempt {
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
export type Plain = import("./patch.js").Plain;
