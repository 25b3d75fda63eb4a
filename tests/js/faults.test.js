// The library on networks that misbehave: it ends with the server's results, nothing lost, nothing twice.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { merge } from "../../static/scanstream.js";
import { client, directory, fast, followed, ids, most, notedSockets, program, proxied, script, server, theServer, until } from "./support.js";

const { url } = await theServer();
const QUICK = { strategy_ids: ["scripted"], parameters: { scripted: { shards: 6, found: 3 } }, force_refresh: true };

/** A scan to its end through a network, told to go on step by step. */
async function through(t, network, options = {}) {
  const sockets = notedSockets();
  const here = client(t, network.url, { WebSocket: sockets.WebSocket, ...options });
  const { request, started } = await script(t, 3);
  const scan = await here.discover(request);
  const told = followed(scan, merge);
  for (let shard = 1; shard <= 3; shard += 1) {
    (await started())("find 2", "end");
    await until(() => scan.opportunities.length >= 2 * shard || scan.status !== "scanning");
  }
  const state = await scan.done;
  const { opportunities, state: merged } = await told;
  assert.equal(state.status, "complete");
  assert.deepEqual(merged, state);
  assert.deepEqual(ids(opportunities), ids(await client(t, url).watch(scan.id).results()));
  assert.ok(most(sockets.made) <= 2, `${most(sockets.made)} attempts in 500 ms`);
  return { here, scan, sockets: sockets.made };
}

test("no WebSockets: the stream, at once, and one try to come back", async (t) => {
  const { here, sockets } = await through(t, await proxied(url, "--refuse-upgrade", "403"));
  assert.equal(here.connection.transport, "stream");
  assert.match(here.connection.reason, /WebSockets do not get through/);
  assert.equal(sockets.length, 1);
});

test("WebSockets that are closed at once: down after three", async (t) => {
  const { here, sockets } = await through(t, await proxied(url, "--close-at-once"));
  assert.equal(here.connection.transport, "stream");
  assert.equal(sockets.length, 3);
});

test("neither WebSockets nor streams: the long poll", async (t) => {
  const network = await proxied(url, "--refuse-upgrade", "501", "--buffer-streams");
  const { here } = await through(t, network, { clock: fast(10) });
  assert.equal(here.connection.transport, "longpoll");
});

test("an open socket that falls silent is noticed, and costs nothing but time", async (t) => {
  const network = await proxied(url, "--mute", "both", "--mute-after", "0.3");
  const sockets = notedSockets();
  const here = client(t, network.url, { clock: fast(10), WebSocket: sockets.WebSocket });
  const { request, started } = await script(t, 2);
  const scan = await here.discover(request);
  const told = followed(scan, merge);
  (await started())("find 2", "end");
  await until(() => sockets.made.length >= 2, "the silence is noticed");
  (await started())("find 2", "end");
  const state = await scan.done;
  const { opportunities } = await told;
  assert.deepEqual([state.status, opportunities.length], ["complete", 4]);
  assert.deepEqual(ids(opportunities), ids(await scan.results()));
});

for (const faults of [["--reset-every", "0.7"], ["--bad-gateway-every", "3"], ["--inject"], ["--delay", "0.2"], ["--drop-after", "20000"]]) {
  test(`a network with ${faults.join(" ")}`, async (t) => {
    await through(t, await proxied(url, ...faults));
  });
}

test("a lost answer to discover starts no second scan", async (t) => {
  const here = client(t, (await proxied(url, "--swallow-acks", "2")).url);
  const request = { ...QUICK, capital_usd: 4321 };
  const scan = await here.discover(request);
  await scan.done;
  const scans = await client(t, url).scans({ limit: 50 });
  assert.equal(scans.filter(({ filters }) => filters.capital_usd === 4321).length, 1);
});

test("back on the best rung when the trouble is over", async (t) => {
  const network = await proxied(url, "--refuse-upgrade", "403");
  const here = client(t, network.url, { clock: fast(10) });
  const { request, started } = await script(t);
  const scan = await here.discover(request);
  await until(() => here.connection.transport === "stream");
  await network.end();
  await until(() => here.connection.state === "waiting");
  const { reason, retryAt } = here.connection;
  assert.ok(reason && retryAt >= Date.now() - 1000);
  await program("tests/wire/proxy.py", url, "--port", network.port);
  await until(() => here.connection.transport === "websocket", "it comes back, though the scan has no news");
  assert.equal(here.connection.reason, null);
  (await started())("find 1", "end");
  assert.equal((await scan.done).total_opportunities, 1);
});

test("a server that is restarted and killed costs nothing but time, and no rung", async (t) => {
  const data = join(directory(t), "data");
  const { request, started } = await script(t, 2);
  let here = await server(0, data);
  const readers = ["websocket", "stream", "longpoll", "poll"].map((rung) => client(t, here.url, { transports: [...new Set([rung, "poll"])], random: () => 0 }));
  const first = await readers[0].discover(request);
  const scans = [first, ...readers.slice(1).map((reader) => reader.watch(first.id))];
  const told = scans.map((scan) => followed(scan, merge));
  (await started())("find 2", "end");
  await until(() => scans.every(({ opportunities }) => opportunities.length === 2));
  for (const signal of ["SIGTERM", "SIGKILL"]) {
    await here.end(signal);
    await until(() => readers.every(({ connection }) => connection.state !== "live"), "all have noticed");
    here = await server(here.port, data);
    await until(() => readers.every(({ connection }) => connection.state === "live"), "all are back");
  }
  (await started())("find 3", "end");
  for (const [index, scan] of scans.entries()) {
    assert.equal((await scan.done).status, "complete");
    const { opportunities } = await told[index];
    assert.deepEqual(ids(opportunities), ids(await scan.results()));
    assert.equal(opportunities.length, 5);
  }
  assert.deepEqual(readers.map(({ connection }) => connection.transport), ["websocket", "stream", "longpoll", "poll"]);
});
