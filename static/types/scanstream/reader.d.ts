/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./errors.js").ScanError} ScanError */
/** @typedef {import("./patch.js").Plain} Plain */
export class Reader {
    /**
     * @param {string} scanId
     * @param {"state" | undefined} only
     * @param {Mirror} [mirror] what is held already
     */
    constructor(scanId: string, only: "state" | undefined, mirror?: Mirror);
    /** The id by which the server knows it. */
    scanId: string;
    only: "state" | undefined;
    mirror: Mirror;
    /** How attempts ask for it; another one is to be asked for anew. @type {Followed} */
    followed: Followed;
    /** What ended it but the end. @type {ScanError | null} */
    error: ScanError | null;
    /** Counts the news. */
    version: number;
    /** Whether nothing more will come, for whatever reason. */
    get over(): boolean;
    /** Whether all from there on is held, or comes. @param {"state" | undefined} only @param {number} start */
    covers(only: "state" | undefined, start: number): boolean;
    /** Somebody wants all of what is held in part. */
    widen(): void;
    /** How many share it. */
    get shared(): number;
    /** @param {() => void} call after each news @returns {() => void} to be called when that is over */
    watch(call: () => void): () => void;
    /**
     * Take a frame.
     * @param {Plain} frame
     * @returns {boolean} whether there is something to tell
     * @throws {import("./mirror.js").GapError}
     */
    take(frame: Plain): boolean;
    /** Nothing more will come, and this is why. @param {ScanError} error */
    fail(error: ScanError): void;
    /** Of what was taken. */
    tell(): void;
    #private;
}
export type Followed = import("./attempt.js").Followed;
export type ScanError = import("./errors.js").ScanError;
export type Plain = import("./patch.js").Plain;
import { Mirror } from "./mirror.js";
