/**
 * Follows scans, each with a client of its own, and says what the clients meet: JSON, one event a line.
 *
 *     node --experimental-websocket follow.mjs '{"strategy_ids": ["tsmom"]}' http://127.0.0.1:8000 …
 *
 * Two words for each: a request (docs/protocol.md, section 3) or the id of a scan that is watched, and an address; who
 * asks is in SCANSTREAM_TOKEN. The
 * events, with the `number` of the client, and `at` by the system's monotonic clock: `started` (scan_id), `connection`
 * (its fields), `update` (count: ids told so far), and the last one, `end` (state, cursor, ids: all that is held, told:
 * what an iterator was given) or `failed`.
 */

import process from "node:process";
import { follow } from "./follow.js";

const words = process.argv.slice(2);
const all = [];
for (let number = 0; 2 * number < words.length; number += 1) {
  const tell = (event) => console.log(JSON.stringify({ number, at: Number(process.hrtime.bigint()) / 1e9, ...event }));
  all.push(follow(words[2 * number + 1], words[2 * number], tell, undefined, process.env.SCANSTREAM_TOKEN));
}
await Promise.all(all);
