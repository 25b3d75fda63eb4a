/** Whether nobody listens there: Node says so, browsers do not. @param {any} error @returns {boolean | undefined} */
export function refused(error: any): boolean | undefined;
/** The body as JSON; null where it is none. @param {Response} response @returns {Promise<any>} */
export function jsonOf(response: Response): Promise<any>;
/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./surroundings.js").Surroundings} Surroundings */
/**
 * @typedef {object} Question
 * @property {string} [method]
 * @property {Record<string, string>} [headers]
 * @property {unknown} [body] sent as JSON
 * @property {AbortSignal} [signal]
 * @property {readonly string[]} [needs] without these fields it is no answer of ours; none: a list is
 */
/** @typedef {{ signal?: AbortSignal, timeout?: number }} Patience `timeout` in milliseconds */
/** How long an answer may take to begin. */
export const ANSWER_MS: 10000;
/** How long a caller's question is tried, unless it says. */
export const TIMEOUT_MS: 10000;
/** An attempt that brought no answer of ours; it may be made again unless the verdict is final. */
export class Lost extends Error {
    /** @param {Verdict} verdict */
    constructor(verdict: Verdict);
    verdict: import("./answers.js").Verdict;
}
export class Requests {
    /** @param {Surroundings} around */
    constructor(around: Surroundings);
    /**
     * The JSON of a successful answer. One 401 makes a token be asked for anew.
     * @param {string} path below the server's address
     * @param {Question & { timeout?: number }} [question]
     * @returns {Promise<{ status: number, headers: Headers, body: any }>} `body` is null where there is none (304)
     * @throws {Lost} or what the signal says
     */
    json(path: string, question?: Question & {
        timeout?: number;
    }): Promise<{
        status: number;
        headers: Headers;
        body: any;
    }>;
    /**
     * The answer as it comes, also one that refuses.
     * @param {string} path
     * @param {Omit<Question, "body"> & { text?: string }} question `text`: its body, in JSON
     * @returns {Promise<Response>}
     */
    answer(path: string, { method, headers, text, signal }: Omit<Question, "body"> & {
        text?: string;
    }): Promise<Response>;
    /**
     * Tried until there is an answer, or an error that lasts.
     * @param {string} path
     * @param {Question & Patience} question
     */
    patiently(path: string, { timeout, ...question }: Question & Patience): Promise<{
        status: number;
        headers: Headers;
        body: any;
    }>;
    /** Whether the server was there not long before a time. @param {number} at */
    knownAt(at: number): boolean;
    /**
     * How an attempt was lost that did not even begin: whether nobody is there, or somebody does not like it.
     * @param {AbortSignal} signal
     * @returns {Promise<boolean>} whether the server is away
     */
    away(signal: AbortSignal): Promise<boolean>;
    #private;
}
export type Verdict = import("./answers.js").Verdict;
export type Surroundings = import("./surroundings.js").Surroundings;
export type Question = {
    method?: string | undefined;
    headers?: Record<string, string> | undefined;
    /**
     * sent as JSON
     */
    body?: unknown;
    signal?: AbortSignal | undefined;
    /**
     * without these fields it is no answer of ours; none: a list is
     */
    needs?: readonly string[] | undefined;
};
/**
 * `timeout` in milliseconds
 */
export type Patience = {
    signal?: AbortSignal;
    timeout?: number;
};
