declare const Client_base: new () => Heard & EventTarget;
/** @typedef {import("./heard.js").Heard<{ connection: Connection }>} Heard */
/** Events: `connection`, whose `detail` is a `Connection`. */
export class Client extends Client_base {
    /**
     * @param {string | URL} [url] of the server; that where this module came from
     * @param {Options} [options]
     */
    constructor(url?: string | URL, options?: Options);
    /** Where the server is. */
    get url(): string;
    get connection(): import("./condition.js").Connection;
    /**
     * Start a scan. A lost answer never starts a second one: the key is the same.
     * @param {Plain} [request] docs/protocol.md, section 3
     * @param {Patience & { idempotencyKey?: string }} [options]
     * @returns {Promise<Scan>}
     * @throws {ScanError}
     */
    discover(request?: Plain, { idempotencyKey, ...patience }?: Patience & {
        idempotencyKey?: string;
    }): Promise<Scan>;
    /**
     * Follow a scan that there is.
     * @param {string} scanId or `latest`
     * @param {{ since?: string | null, only?: "state" | null }} [from] a cursor to go on from; `only: "state"` leaves the
     *   opportunities out
     * @returns {Scan} whose errors come with its iterators and its `done`
     */
    watch(scanId: string, { since, only }?: {
        since?: string | null;
        only?: "state" | null;
    }): Scan;
    /** The catalogue of strategies, each with the JSON Schema of its parameters. @param {Patience} [patience] @returns {Promise<Plain[]>} */
    strategies(patience?: Patience): Promise<Plain[]>;
    /** What is scanned. @param {Patience} [patience] @returns {Promise<Plain>} */
    market(patience?: Patience): Promise<Plain>;
    /** Scans of the caller, newest first. @param {Patience & { limit?: number, before?: string }} [page] @returns {Promise<Plain[]>} */
    scans({ limit, before, ...patience }?: Patience & {
        limit?: number;
        before?: string;
    }): Promise<Plain[]>;
    /** Try again now. */
    reconnect(): void;
    /** Follow nothing any more; the scans go on. */
    close(): void;
    #private;
}
export type Connection = import("./line.js").Connection;
export type Plain = import("./patch.js").Plain;
export type Patience = import("./requests.js").Patience;
export type Question = import("./requests.js").Question;
export type Options = import("./surroundings.js").Options;
export type Heard = import("./heard.js").Heard<{
    connection: Connection;
}>;
import { Scan } from "./scan.js";
export {};
