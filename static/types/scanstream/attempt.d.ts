/**
 * How a request was lost. Where it did not even bring an answer and the error does not say why, only another question
 * tells whether somebody is there.
 * @param {Requests} requests
 * @param {unknown} error
 * @param {AbortSignal} signal
 * @returns {Promise<Verdict>}
 */
export function lossOf(requests: Requests, error: unknown, signal: AbortSignal): Promise<Verdict>;
/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./ladder.js").Why} Why */
/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {import("./requests.js").Requests} Requests */
/** @typedef {import("./surroundings.js").Surroundings} Surroundings */
/**
 * @typedef {object} Followed a scan, and where its reader is
 * @property {string} scanId
 * @property {string | null} cursor as of now
 * @property {"state" | undefined} only
 * @property {boolean} [over] whether nothing more will come
 */
/**
 * @typedef {object} Report what an attempt tells whoever made it
 * @property {() => void} alive the server answers
 * @property {(message: Plain) => void} message a frame or an error, of a scan that is followed
 * @property {(ms: number) => void} lag how long the last answer took
 * @property {(verdict: Verdict) => void} lost the attempt is over; told once, and nothing after it
 */
/**
 * @typedef {object} Attempt
 * @property {(followed: readonly Followed[]) => void} follow these and no others, those that are new from their cursors
 * @property {() => void} check somebody looks, or the network has changed: find out soon whether the line is alive
 * @property {() => void} close without a word
 */
/**
 * @typedef {object} Tools
 * @property {Surroundings} around
 * @property {Requests} requests
 * @property {import("./pace.js").Pace} pace of this rung
 * @property {{ opened: boolean }} history of this rung: whether a connection of it has come about before
 */
/**
 * A scan of which nothing has come for so long is asked for anew from where its reader is. What was lost on the way comes
 * with that, also where nothing follows that would show the gap: the end, or the last frame before a long silence.
 */
export const QUIET_MS: 15000;
export function wanted(followed: readonly Followed[]): {
    only?: "state" | undefined;
    since?: string | undefined;
    scan_id: string;
}[];
export function silence(what: string): Verdict;
export function stuck(what: string): Verdict;
export function foreign(status: number): Verdict;
export type Verdict = import("./answers.js").Verdict;
export type Why = import("./ladder.js").Why;
export type Plain = import("./patch.js").Plain;
export type Requests = import("./requests.js").Requests;
export type Surroundings = import("./surroundings.js").Surroundings;
/**
 * a scan, and where its reader is
 */
export type Followed = {
    scanId: string;
    /**
     * as of now
     */
    cursor: string | null;
    only: "state" | undefined;
    /**
     * whether nothing more will come
     */
    over?: boolean | undefined;
};
/**
 * what an attempt tells whoever made it
 */
export type Report = {
    /**
     * the server answers
     */
    alive: () => void;
    /**
     * a frame or an error, of a scan that is followed
     */
    message: (message: Plain) => void;
    /**
     * how long the last answer took
     */
    lag: (ms: number) => void;
    /**
     * the attempt is over; told once, and nothing after it
     */
    lost: (verdict: Verdict) => void;
};
export type Attempt = {
    /**
     * these and no others, those that are new from their cursors
     */
    follow: (followed: readonly Followed[]) => void;
    /**
     * somebody looks, or the network has changed: find out soon whether the line is alive
     */
    check: () => void;
    /**
     * without a word
     */
    close: () => void;
};
export type Tools = {
    around: Surroundings;
    requests: Requests;
    /**
     * of this rung
     */
    pace: import("./pace.js").Pace;
    /**
     * of this rung: whether a connection of it has come about before
     */
    history: {
        opened: boolean;
    };
};
