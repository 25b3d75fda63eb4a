/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./attempt.js").Report} Report */
/** @typedef {import("./attempt.js").Tools} Tools */
/** @typedef {import("./requests.js").Requests} Requests */
/** @typedef {import("./room.js").Room} Room */
/** @typedef {import("./surroundings.js").Surroundings} Surroundings */
/**
 * `crowds`: whether it keeps one of the few connections that a browser has to an origin. `answers`: whether each question
 * brings a frame, news or not.
 * @type {Record<string, { crowds: boolean, answers: boolean, make: (tools: Tools, report: Report) => Attempt }>}
 */
export const RUNG: Record<string, {
    crowds: boolean;
    answers: boolean;
    make: (tools: Tools, report: Report) => Attempt;
}>;
export class Rungs {
    /**
     * @param {Surroundings} around
     * @param {Requests} requests
     * @param {Room} room
     * @param {readonly string[]} transports
     */
    constructor(around: Surroundings, requests: Requests, room: Room, transports: readonly string[]);
    best: string;
    /** @param {string} rung @param {Report} report @returns {Attempt} */
    open(rung: string, report: Report): Attempt;
    /** Whether there may be another token; it is asked for with the next attempt. */
    renew(): boolean;
    #private;
}
export type Attempt = import("./attempt.js").Attempt;
export type Followed = import("./attempt.js").Followed;
export type Report = import("./attempt.js").Report;
export type Tools = import("./attempt.js").Tools;
export type Requests = import("./requests.js").Requests;
export type Room = import("./room.js").Room;
export type Surroundings = import("./surroundings.js").Surroundings;
