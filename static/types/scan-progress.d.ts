declare const ScanProgress_base: new () => Heard & HTMLElement;
/** @typedef {import("./scanstream/client.js").Client} Client */
/** @typedef {import("./scanstream/line.js").Connection} Connection */
/** @typedef {import("./scanstream/scan.js").Scan} Scan */
/** @typedef {import("./scanstream/patch.js").Plain} Plain */
/** @typedef {import("./scanstream/updates.js").Update} Update */
/** @typedef {import("./scanstream/heard.js").Heard<{ "scan-update": Update, "scan-end": Plain, "scan-error": ScanError }>} Heard */
/**
 * Events, which bubble and leave shadow trees: `scan-update` (its `detail` is an `Update`), `scan-end` (the terminal
 * state), `scan-error` (a `ScanError`: the scan cannot be followed).
 */
export class ScanProgress extends ScanProgress_base {
    static observedAttributes: string[];
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** Its scan stays as it is: see `Element.moveBefore`. */
    connectedMoveCallback(): void;
    /** @param {string} name @param {string | null} before @param {string | null} after */
    attributeChangedCallback(name: string, before: string | null, after: string | null): void;
    set scanId(value: string | null);
    /** What is followed: an id, or `latest`. */
    get scanId(): string | null;
    set url(value: string | null);
    /** Of the server; that where this module came from, unless it is given. */
    get url(): string | null;
    set only(value: "state" | null);
    /** `state`: the updates bring no opportunities. */
    get only(): "state" | null;
    set client(value: import("./scanstream.js").Client | null);
    /** Who follows: one of yours, with a token of yours; else one that all such elements of a page share. */
    get client(): import("./scanstream.js").Client | null;
    set scan(value: import("./scanstream.js").Scan | null);
    /** What is shown; one of yours goes before `scan-id`, and stays yours to close. */
    get scan(): import("./scanstream.js").Scan | null;
    /** The newest state; empty while there is none. */
    get state(): import("./scanstream/patch.js").Plain;
    /** How the line to the server is; null while there is none. */
    get connection(): import("./scanstream/condition.js").Connection | null;
    /** Ends the scan for all who follow it; what was found is kept. */
    cancel(): Promise<void>;
    #private;
}
export type Client = import("./scanstream/client.js").Client;
export type Connection = import("./scanstream/line.js").Connection;
export type Scan = import("./scanstream/scan.js").Scan;
export type Plain = import("./scanstream/patch.js").Plain;
export type Update = import("./scanstream/updates.js").Update;
export type Heard = import("./scanstream/heard.js").Heard<{
    "scan-update": Update;
    "scan-end": Plain;
    "scan-error": ScanError;
}>;
import { ScanError } from "./scanstream/errors.js";
export {};
