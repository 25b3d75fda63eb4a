declare const Scan_base: new () => Heard & EventTarget;
/** @typedef {import("./heard.js").Heard<{ update: Update, end: Plain, error: ScanError }>} Heard */
/**
 * Events: `update` (its `detail` is an `Update`), `end` (the terminal state), `error` (a `ScanError`).
 */
export class Scan extends Scan_base {
    /**
     * Made by `Client`.
     * @param {Home} home
     * @param {string} name its id, or `latest`
     * @param {Plain} [ack] of its discover
     */
    constructor(home: Home, name: string, ack?: Plain);
    /** Resolves with the terminal state, whatever it is; rejects if the scan cannot be followed to its end. @type {Promise<Plain>} */
    done: Promise<Plain>;
    /** Made by `Client`: from now on it is followed. @param {Reader} reader @param {Part} part */
    begin(reader: Reader, part: Part): void;
    /** Made by `Client`: it cannot be followed. @param {ScanError} error */
    fail(error: ScanError): void;
    /** Made for `Client`: aborted when it is to be followed no more. */
    get leaving(): AbortSignal;
    /** The real one, as soon as it is known. */
    get id(): string;
    /** The newest; what the answer to discover said, until there is one. @returns {Plain} */
    get state(): Plain;
    /** `scanning`, `complete`, `failed` or `cancelled`. @returns {string} */
    get status(): string;
    /** All that is known, in the order of the log. @returns {readonly Plain[]} */
    get opportunities(): readonly Plain[];
    /** Where to go on from: what `watch({ since })` takes. @returns {string | null} */
    get cursor(): string | null;
    /**
     * All results, best first; waits for the end of the scan, and for each answer of the server as long as `timeout`.
     * @param {Patience} [patience]
     * @returns {Promise<Plain[]>}
     */
    results({ timeout, signal }?: Patience): Promise<Plain[]>;
    /**
     * Ends the scan for all who follow it; what was found is kept. The end arrives as state.
     * @param {Patience} [patience]
     * @returns {Promise<Plain>} the state after the server has heard of it
     */
    cancel(patience?: Patience): Promise<Plain>;
    /**
     * A token for this one scan, to be handed on, and addresses with it (docs/protocol.md, section 8).
     * @param {{ rights?: ("read" | "cancel")[], expiresIn?: number } & Patience} [wanted] `expiresIn`: seconds
     * @returns {Promise<Plain>} `token`, `rights`, `expires_at`, `links`
     */
    share({ rights, expiresIn, ...patience }?: {
        rights?: ("read" | "cancel")[];
        expiresIn?: number;
    } & Patience): Promise<Plain>;
    /**
     * Have an address told of the scan's end, whatever becomes of this program (docs/webhooks.md). The same address again
     * is the same notification.
     * @param {string} url
     * @param {Patience} [patience]
     * @returns {Promise<Plain>} `notification_id`, `url`, `signing_secret`
     */
    notify(url: string, patience?: Patience): Promise<Plain>;
    /** Follow it no more; the scan goes on. */
    close(): void;
    /**
     * From what is held to the end of the scan. Each iterator sees everything, in as many updates as it has the time for.
     * @returns {AsyncGenerator<Update, void, undefined>}
     */
    [Symbol.asyncIterator](): AsyncGenerator<Update, void, undefined>;
    #private;
}
export type Plain = import("./patch.js").Plain;
export type Reader = import("./reader.js").Reader;
export type Patience = import("./requests.js").Patience;
export type Part = import("./updates.js").Part;
export type Update = import("./updates.js").Update;
/**
 * what a scan asks of its client
 */
export type Home = {
    ask: (path: string, question: import("./requests.js").Question & Patience) => Promise<{
        status: number;
        headers: Headers;
        body: any;
    }>;
    /**
     * it is followed no more
     */
    release: (scan: Scan, reader: Reader | null) => void;
    clock: import("./clock.js").Clock;
};
export type Heard = import("./heard.js").Heard<{
    update: Update;
    end: Plain;
    error: ScanError;
}>;
import { ScanError } from "./errors.js";
export {};
