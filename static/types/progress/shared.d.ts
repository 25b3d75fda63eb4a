/**
 * @param {string} [url]
 * @returns {{ client: Client, release: () => void }} with the last release it is closed
 */
export function claim(url?: string): {
    client: Client;
    release: () => void;
};
import { Client } from "../scanstream/client.js";
