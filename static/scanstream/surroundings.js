/** What the library stands on, found in a browser or in Node, or handed in. */

import { CLOCK } from "./clock.js";
import { Token } from "./token.js";

/**
 * @typedef {object} Options
 * @property {import("./token.js").TokenSource | null} [token] `Authorization: Bearer`; a function is asked again on 401
 *   and before a JWT expires
 * @property {readonly ("websocket" | "stream" | "longpoll" | "poll")[]} [transports] rungs, the best first
 * @property {typeof globalThis.fetch} [fetch]
 * @property {any} [WebSocket] a constructor as in browsers; without one (Node 20) the ladder begins with "stream"
 * @property {import("./clock.js").Clock} [clock]
 * @property {() => number} [random] from 0 to 1
 */

/**
 * @typedef {object} Surroundings
 * @property {URL} url of the server, ending in `/`
 * @property {Token} token
 * @property {typeof globalThis.fetch} fetch
 * @property {any} WebSocket null where there is none
 * @property {import("./clock.js").Clock} clock
 * @property {() => number} random
 */

/**
 * @param {string | URL | undefined} url
 * @param {Options} options
 * @returns {Surroundings}
 */
export function surroundings(url, { token, fetch, WebSocket, clock, random }) {
  const given = fetch ?? globalThis.fetch;
  return {
    url: addressOf(url),
    token: new Token(token),
    fetch: (...question) => given(...question), // browsers want it called as nobody's method
    WebSocket: WebSocket ?? globalThis.WebSocket ?? null,
    clock: clock ?? CLOCK,
    random: random ?? Math.random,
  };
}

/**
 * A server's address; where none is given, that where this module came from.
 * @param {string | URL | undefined} url
 * @returns {URL}
 */
function addressOf(url) {
  const here = globalThis.location?.href;
  const address = url === undefined ? new URL("../../", import.meta.url) : new URL(url, here);
  if (address.protocol !== "http:" && address.protocol !== "https:") {
    throw new TypeError(`Say which server: new Client("http://127.0.0.1:8000"), not ${address.protocol}`);
  }
  address.search = address.hash = "";
  if (!address.pathname.endsWith("/")) address.pathname += "/";
  return address;
}
