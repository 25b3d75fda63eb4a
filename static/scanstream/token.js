/** Who asks: a token, or a function that is asked for one again when the last has run out. */

/** @typedef {string | (() => string | null | Promise<string | null>)} TokenSource */

/** So long before it expires a token is renewed; one that lives for less than twice that, at half of what is left. */
export const EARLY_MS = 30_000;

export class Token {
  #source;
  /** @type {Promise<string | null> | null} */
  #asked = null;
  /** By the wall clock; Infinity where nothing is said of its end. */
  #renewAt = Infinity;

  /** @param {TokenSource | null} [source] @throws {TypeError} if it can be none; without a word of it */
  constructor(source) {
    this.#source = typeof source === "function" ? source : textOf(source);
  }

  /** Whether asking again may give another one. */
  get renewable() {
    return typeof this.#source === "function";
  }

  /** Milliseconds until it is to be renewed; Infinity where that is not known. */
  get renewIn() {
    return this.renewable ? this.#renewAt - Date.now() : Infinity;
  }

  /** The token; null where there is none. @returns {Promise<string | null>} */
  async get() {
    if (typeof this.#source !== "function") return this.#source;
    if (this.#asked && this.renewIn > 0) return this.#asked;
    const asked = Promise.resolve(this.#source()).then(textOf);
    this.#asked = asked;
    this.#renewAt = Infinity;
    try {
      const token = await asked;
      const left = expiryOf(token) - Date.now();
      this.#renewAt = Date.now() + Math.max(left - EARLY_MS, left / 2);
      return token;
    } catch (error) {
      this.forget();
      throw error;
    }
  }

  /** It was refused: the next one is asked for anew. */
  forget() {
    this.#asked = null;
  }
}

/** RFC 6750, section 2.1. */
const SIGNS = /^[\w.~+/-]+=*$/;

/**
 * A credential as it is sent; null for an empty one. A file has a newline at its end. What no header can have is refused
 * here: below, its error would have the whole of it.
 * @param {unknown} given
 * @returns {string | null}
 */
function textOf(given) {
  if (given === null || given === undefined) return null;
  if (typeof given !== "string") throw new TypeError("A token is a string, or a function that gives one");
  const text = given.trim();
  if (text && !SIGNS.test(text)) throw new TypeError("The token has signs that no key and no token has");
  return text || null;
}

/** What a JSON Web Token says of its end (RFC 7519, section 4.1.4), in milliseconds. @param {string | null} token */
export function expiryOf(token) {
  try {
    const [, claims, ...rest] = (token ?? "").split(".");
    const { exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
    return rest.length === 1 && typeof exp === "number" ? exp * 1000 : Infinity;
  } catch {
    return Infinity; // it is none, and its end is not known
  }
}

/** As it stands in a subprotocol: base64url without padding. @param {string} token */
export function subprotocolOf(token) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  return `scanstream.bearer.${btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
}
