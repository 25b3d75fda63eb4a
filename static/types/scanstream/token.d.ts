/** As it stands in a subprotocol: base64url without padding. @param {string} token */
export function subprotocolOf(token: string): string;
/** Who asks: a token, or a function that is asked for one again when the last has run out. */
/** @typedef {string | (() => string | null | Promise<string | null>)} TokenSource */
/** So long before it expires a token is renewed. */
export const EARLY_MS: 30000;
export class Token {
    /** @param {TokenSource | null} [source] */
    constructor(source?: TokenSource | null);
    /** Whether asking again may give another one. */
    get renewable(): boolean;
    /** Milliseconds until it is to be renewed; Infinity where that is not known. */
    get renewIn(): number;
    /** The token; null where there is none. @returns {Promise<string | null>} */
    get(): Promise<string | null>;
    /** It was refused: the next one is asked for anew. */
    forget(): void;
    #private;
}
export type TokenSource = string | (() => string | null | Promise<string | null>);
