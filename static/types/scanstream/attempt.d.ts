/**
 * How a request was lost. Where it did not even bring an answer and the error does not say why, only another question
 * tells whether somebody is there.
 * @param {Requests} requests
 * @param {unknown} error
 * @param {AbortSignal} signal
 * @returns {Promise<Verdict>}
 */
export function lossOf(requests: Requests, error: unknown, signal: AbortSignal): Promise<Verdict>;
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
