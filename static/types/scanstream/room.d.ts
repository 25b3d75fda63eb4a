/**
 * Whether there is a connection to spare for an answer that stays open. A browser has six to an HTTP/1.1 origin, for all
 * its tabs: so three tabs at most have one, and none that nobody looks at. Node has as many as it likes.
 */
/** Tabs that may have one. */
export const TABS: 3;
export class Room {
    /** @param {URL} url @param {import("./attention.js").Attention} attention */
    constructor(url: URL, attention: import("./attention.js").Attention);
    /**
     * @returns {Promise<(() => void) | null>} gives it back; null where there is none to spare
     */
    take(): Promise<(() => void) | null>;
    #private;
}
