/** What a JSON Web Token says of its end (RFC 7519, section 4.1.4), in milliseconds. @param {string | null} token */
export function expiryOf(token: string | null): number;
/** As it stands in a subprotocol: base64url without padding. @param {string} token */
export function subprotocolOf(token: string): string;
/** Who asks: a token, or a function that is asked for one again when the last has run out. */
/** @typedef {string | (() => string | null | Promise<string | null>)} TokenSource */
/** So long before it expires a token is renewed; one that lives for less than twice that, at half of what is left. */
export const EARLY_MS: 30000;
export class Token {
    /** @param {TokenSource | null} [source] @throws {TypeError} if it can be none; without a word of it */
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
