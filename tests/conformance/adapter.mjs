/**
 * The adapter of the JavaScript client: see adapter.py.
 *
 *     scanstream conformance client -- node --experimental-websocket tests/conformance/adapter.mjs
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { Client } from "../../static/scanstream.js";

const tell = (event, told) => console.log(JSON.stringify({ event, ...told }));

const [line] = await new Promise((resolve) => createInterface({ input: process.stdin }).once("line", (text) => resolve([text])));
const begin = JSON.parse(line);
process.stdin.destroy();
const tokens = [...(begin.tokens ?? [])];
const token = tokens.length ? () => (tokens.length > 1 ? tokens.shift() : tokens[0]) : undefined;
const client = new Client(begin.url, { token });
try {
  const scan = begin.watch ? client.watch(begin.watch, { since: begin.since }) : await client.discover(begin.request);
  tell("started", { scan_id: scan.id });
  for await (const { state, opportunities, cursor } of scan) {
    tell("update", { state, opportunities, cursor });
  }
  const state = await scan.done;
  tell("end", { status: state.status, state, ids: scan.opportunities.map(({ id }) => id) });
} catch (error) {
  tell("error", { code: error.code ?? error.name, detail: String(error.detail ?? error.stack) });
} finally {
  client.close();
}
