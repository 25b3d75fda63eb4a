// Somebody is told when a scan has ended, asked for by the library.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";

import { client, program, until } from "./support.js";

const PRIVATE = ["--notify-private", "127.0.0.0/8"];
const QUICK = { strategy_ids: ["tsmom"], symbols: ["BTC/USDT"], parameters: { tsmom: { walk_forward: 0 } } };

/** A receiver: what came, and where it is. */
async function receiver(t) {
  const got = [];
  const server = createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    got.push({ headers: request.headers, body: Buffer.concat(pieces) });
    response.writeHead(204).end();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => server.close());
  return { got, url: `http://127.0.0.1:${server.address().port}/hooks` };
}

test("scan.notify has an address told of the end", { timeout: 120_000 }, async (t) => {
  const { got, url: hook } = await receiver(t);
  const server = await program("-m", "scanstream", "serve", "--port", "0", "--data", ":memory:", "--notify", hook, ...PRIVATE);
  const scan = await client(t, server.url).discover(QUICK);
  const accepted = await scan.notify(`${hook}/1`);
  assert.deepEqual(await scan.notify(`${hook}/1`), accepted, "the same address is the same notification");
  assert.equal(accepted.url, `${hook}/1`);
  await scan.done;
  const { headers, body } = await until(() => got[0], "it is told");
  assert.equal(headers["webhook-id"], accepted.notification_id);
  const key = Buffer.from(accepted.signing_secret.slice("whsec_".length), "base64");
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), body]);
  assert.equal(headers["webhook-signature"], `v1,${createHmac("sha256", key).update(signed).digest("base64")}`);
  assert.equal(JSON.parse(body).data.scan_id, scan.id);
  await assert.rejects(scan.notify("https://evil.example/"), { code: "invalid_request", status: 422 });
});

test("where the server tells nobody it is an error", { timeout: 120_000 }, async (t) => {
  const { url } = await program("-m", "scanstream", "serve", "--port", "0", "--data", ":memory:");
  const scan = await client(t, url).discover(QUICK);
  await assert.rejects(scan.notify("https://hooks.example/"), { code: "no_such_route", status: 404 });
});
