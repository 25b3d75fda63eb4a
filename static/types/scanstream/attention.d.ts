/** Whether somebody looks at the page, and when the network may have changed. In Node somebody always does. */
/** A page that is hidden for so long pauses. */
export const PAUSE_MS: 60000;
/**
 * @typedef {object} Listener
 * @property {() => void} hide nobody looks just now
 * @property {() => void} pause nobody has looked for a while, or the page is left
 * @property {() => void} look somebody looks again, or the network is back: check, and go on
 */
export class Attention {
    /** @param {import("./clock.js").Clock} clock */
    constructor(clock: import("./clock.js").Clock);
    get hidden(): boolean;
    /** @param {Listener} listener @returns {() => void} to be called when that is over */
    listen(listener: Listener): () => void;
    #private;
}
export type Listener = {
    /**
     * nobody looks just now
     */
    hide: () => void;
    /**
     * nobody has looked for a while, or the page is left
     */
    pause: () => void;
    /**
     * somebody looks again, or the network is back: check, and go on
     */
    look: () => void;
};
