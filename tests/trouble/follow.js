/**
 * What the browser and Node have alike: one client that follows one scan, and tells what it meets. See follow.mjs. It is
 * as patient with its start as followers.py is with all: behind a proxy that is seconds late, ten seconds are soon over.
 */

/**
 * @param {string} url
 * @param {string} what a request as JSON, or a scan's id
 * @param {(event: object) => void} tell
 * @param {typeof import("../../static/scanstream.js")} [library]
 * @param {string} [token]
 */
export async function follow(url, what, tell, library, token) {
  const { Client } = library ?? (await import("../../static/scanstream.js"));
  const client = new Client(url, token ? { token } : {});
  client.addEventListener("connection", ({ detail }) => tell({ event: "connection", ...detail }));
  try {
    const scan = what.startsWith("{") ? await client.discover(JSON.parse(what), { timeout: 90_000 }) : client.watch(what);
    tell({ event: "started", scan_id: scan.id });
    const told = [];
    for await (const { opportunities } of scan) {
      told.push(...opportunities.map(({ id }) => id));
      tell({ event: "update", count: told.length });
    }
    const state = await scan.done;
    const ids = scan.opportunities.map(({ id }) => id);
    tell({ event: "end", scan_id: scan.id, state, cursor: scan.cursor, ids, told });
  } catch (error) {
    tell({ event: "failed", code: error.code ?? error.name, detail: String(error.detail ?? error.stack) });
  } finally {
    client.close();
  }
}
