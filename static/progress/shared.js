/** One client for all elements of a page that look at the same server: one connection, however many there are. */

import { Client } from "../scanstream/client.js";

/** By address; that where this module came from is "". @type {Map<string, { client: Client, users: number }>} */
const clients = new Map();

/**
 * @param {string} [url]
 * @returns {{ client: Client, release: () => void }} with the last release it is closed
 */
export function claim(url) {
  const address = url === undefined ? "" : new URL(url, document.baseURI).href;
  const shared = clients.get(address) ?? { client: new Client(address || undefined), users: 0 };
  clients.set(address, shared);
  shared.users += 1;
  return {
    client: shared.client,
    release: () => {
      shared.users -= 1;
      if (shared.users > 0) return;
      clients.delete(address);
      shared.client.close();
    },
  };
}
