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
export function surroundings(url: string | URL | undefined, { token, fetch, WebSocket, clock, random }: Options): Surroundings;
export type Options = {
    /**
     * `Authorization: Bearer`; a function is asked again on 401
     * and before a JWT expires
     */
    token?: import("./token.js").TokenSource | null | undefined;
    /**
     * rungs, the best first
     */
    transports?: readonly ("stream" | "websocket" | "longpoll" | "poll")[] | undefined;
    fetch?: typeof globalThis.fetch | undefined;
    /**
     * a constructor as in browsers; without one (Node 20) the ladder begins with "stream"
     */
    WebSocket?: any;
    clock?: import("./clock.js").Clock | undefined;
    /**
     * from 0 to 1
     */
    random?: (() => number) | undefined;
};
export type Surroundings = {
    /**
     * of the server, ending in `/`
     */
    url: URL;
    token: Token;
    fetch: typeof globalThis.fetch;
    /**
     * null where there is none
     */
    WebSocket: any;
    clock: import("./clock.js").Clock;
    random: () => number;
};
import { Token } from "./token.js";
