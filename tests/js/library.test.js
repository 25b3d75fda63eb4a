// The library against a real server, over each transport.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { Client, Closed, merge, ScanError, Unreachable } from "../../static/scanstream.js";
import { client, followed, ids, notedFetch, notedSockets, script, theServer, until } from "./support.js";

const RUNGS = ["websocket", "stream", "longpoll", "poll"];
const QUICK = { strategy_ids: ["scripted"], parameters: { scripted: { shards: 3, found: 4 } }, force_refresh: true };
const { url } = await theServer();

test("hundreds of scans: as many lines as they need, and none is lost", async (t) => {
  const sockets = notedSockets();
  const here = client(t, url, { WebSocket: sockets.WebSocket });
  const request = { strategy_ids: ["scripted"], parameters: { scripted: { shards: 1, found: 1 } }, force_refresh: true };
  const { request: held, started } = await script(t);
  const first = await here.discover(held); // the others wait behind it
  const tell = await started();
  const scans = [first, ...(await Promise.all(Array.from({ length: 259 }, () => here.discover(request))))];
  tell("find 1", "end");
  const states = await Promise.all(scans.map((scan) => scan.done));
  const told = states.map(({ status, total_opportunities }) => `${status}, ${total_opportunities}`);
  assert.deepEqual([...new Set(told)], ["complete, 1"]);
});

for (const rung of RUNGS) {
  test(`${rung}: every iterator is told all, each patch is right, and the end is the server's`, async (t) => {
    const { request, started } = await script(t, 2);
    const here = client(t, url, { transports: [rung] });
    const scan = await here.discover(request);
    assert.match(scan.id, /^scan_/);
    assert.equal(scan.status, "scanning");
    const first = followed(scan, merge);
    (await started())("find 2", "end");
    await until(() => scan.opportunities.length === 2);
    const second = followed(scan, merge);
    (await started())("find 3", "end");

    const state = await scan.done;
    const results = await scan.results();

    assert.equal(here.connection.transport, rung);
    assert.equal(state.status, "complete");
    assert.equal(results.length, 5);
    for (const { updates, state: merged, opportunities } of [await first, await second]) {
      assert.deepEqual(ids(opportunities), ids(results));
      assert.deepEqual(merged, state);
      for (const update of updates) assert.deepEqual(update.merged, update.state);
      assert.equal(updates.at(-1).cursor, scan.cursor);
    }
    assert.deepEqual((await followed(scan, merge)).opportunities, scan.opportunities, "after the end, at once");
  });

  test(`${rung}: many scans share a connection, and come and go`, async (t) => {
    const { made, WebSocket } = notedSockets();
    let open = 0;
    let most = 0;
    const counted = async (address, options) => {
      const response = await fetch(address, options);
      if (!String(address).endsWith("/follow")) return response;
      most = Math.max(most, (open += 1));
      options.signal.addEventListener("abort", () => (open -= 1), { once: true });
      return response;
    };
    const here = client(t, url, { transports: [rung], WebSocket, fetch: counted });
    const scripts = await Promise.all([1, 2, 3, 4].map(() => script(t)));
    const scans = [];
    for (const { request } of scripts) scans.push(await here.discover(request));
    await until(() => scans.every(({ state }) => state.market), "all have a state");
    scans[3].close();
    await Promise.all(scripts.map(async ({ started }) => (await started())("find 1", "end")));

    for (const scan of scans.slice(0, 3)) assert.equal((await scan.done).total_opportunities, 1);
    assert.equal(made.length, rung === "websocket" ? 1 : 0);
    if (rung === "stream") assert.equal(most, 1);
    await assert.rejects(scans[3].done, Closed);
    assert.equal((await here.watch(scans[3].id).done).status, "complete", "the scan went on");
  });

  test(`${rung}: large results come in pieces`, async (t) => {
    const here = client(t, url, { transports: [rung] });
    const scan = await here.discover({ ...QUICK, parameters: { scripted: { shards: 2, found: 700 } } });
    const { opportunities } = await followed(scan, merge);
    assert.deepEqual(ids(opportunities), ids(await scan.results()));
    assert.equal(opportunities.length, 1400);
  });

  test(`${rung}: from a cursor on, from the newest, and the state only`, async (t) => {
    const { request, started } = await script(t, 2);
    const here = client(t, url, { transports: [rung] });
    const scan = await here.discover(request);
    (await started())("find 3", "end");
    await until(() => scan.opportunities.length === 3);
    const since = scan.cursor;
    const later = client(t, url, { transports: [rung] });
    const [onwards, newest, state] = [later.watch(scan.id, { since }), later.watch("latest"), later.watch(scan.id, { only: "state" })];
    await until(() => [onwards, newest, state].every((one) => one.state.phase === "running"));
    (await started())("find 2", "end");
    await Promise.all([onwards.done, newest.done, state.done]);

    assert.equal(newest.id, scan.id);
    assert.deepEqual(onwards.opportunities, newest.opportunities.slice(3));
    assert.deepEqual(newest.opportunities, scan.opportunities);
    assert.deepEqual(state.opportunities, []);
    for (const one of [onwards, newest, state]) assert.deepEqual(one.state, newest.state);
    assert.match(state.cursor, /\.0$/);
  });

  test(`${rung}: one scan followed in all ways at once is followed once, and each way sees its part`, async (t) => {
    const { request, started } = await script(t, 3);
    const scan = await client(t, url).discover(request);
    (await started())("find 3", "end");
    await until(() => scan.opportunities.length === 3);
    const questions = notedFetch();
    const { made, WebSocket } = notedSockets();
    const here = client(t, url, { transports: [rung], WebSocket, fetch: questions.fetch });
    const state = here.watch(scan.id, { only: "state" });
    await until(() => state.state.market, "the state alone is followed");
    const later = here.watch(scan.id, { since: scan.cursor });
    await until(() => later.state.market, "and what comes from here on");
    const all = here.watch(scan.id);
    await until(() => all.opportunities.length === 3, "and everything, of which the first ones hold a part");
    assert.deepEqual([state.opportunities, later.opportunities], [[], []]);
    const ways = [state, later, all];
    const told = ways.map((one) => followed(one, merge));
    for (const count of [5, 6]) {
      (await started())(`find ${count - (count === 6 ? 5 : 3)}`, "end");
      await until(() => all.opportunities.length === count);
    }
    await Promise.all(ways.map(({ done }) => done));
    const found = (await Promise.all(told)).map(({ opportunities }) => ids(opportunities));

    assert.deepEqual(found, [[], ids(scan.opportunities.slice(3)), ids(scan.opportunities)]);
    for (const [index, way] of ways.entries()) assert.deepEqual(ids(way.opportunities), found[index]);
    assert.deepEqual(ways.map(({ cursor }) => cursor.replace(/.*\./, "")), ["0", "6", "6"], "each is true for its part");
    for (const { updates } of await Promise.all(told)) for (const update of updates) assert.equal(update.reset, false);
    for (const one of ways) assert.deepEqual(one.state, all.state);
    if (rung === "websocket") assert.equal(made.length, 1);
    if (rung !== "poll") assert.deepEqual([...questions.made.keys()].filter((kind) => kind.endsWith("/status/")).length, 1, "that of since");
  });

  test(`${rung}: a scan that is not there is told of it, and nobody else is`, async (t) => {
    const { request, started } = await script(t);
    const here = client(t, url, { transports: [rung] });
    const scan = await here.discover(request);
    const tell = await started();
    const absent = here.watch(`${scan.id.slice(0, -4)}0000`);
    const told = once(absent, "error");

    await assert.rejects(absent.done, (error) => error instanceof ScanError && error.code === "not_found" && error.status === 404);
    assert.equal((await told)[0].detail.code, "not_found");
    await assert.rejects(async () => { for await (const _ of absent); }, { code: "not_found" });
    tell("end");
    assert.equal((await scan.done).status, "complete");
  });
}

test("a slow reader is told the newest, and all opportunities", async (t) => {
  const { request, started } = await script(t, 12);
  const scan = await client(t, url).discover(request);
  let told = 0;
  const { updates, opportunities } = await followed(scan, merge, async () => {
    told += 1;
    if (told !== 1) return; // there need not be a second one before a shard ends
    for (let found = 1; found <= 12; found += 1) {
      (await started())("find 1", "end");
      await until(() => scan.opportunities.length === found);
    }
    await scan.done;
  });
  assert.equal(updates.length, 2);
  assert.equal(updates[1].opportunities.length, 12);
  assert.ok(updates[1].skipped >= 11, `${updates[1].skipped}`);
  assert.deepEqual(ids(opportunities), ids(scan.opportunities));
});

test("events say what iterators say", async (t) => {
  const scan = await client(t, url).discover(QUICK);
  const found = [];
  scan.addEventListener("update", ({ detail }) => found.push(...detail.opportunities));
  const [{ detail: state }] = await once(scan, "end");
  assert.equal(state.status, "complete");
  assert.deepEqual(found, scan.opportunities);
});

test("cancelled: what was found is kept", async (t) => {
  const { request, started } = await script(t, 2);
  const scan = await client(t, url).discover(request);
  (await started())("find 2", "end");
  await until(() => scan.opportunities.length === 2);
  assert.match((await scan.cancel()).phase, /cancelling|done/);
  assert.equal((await scan.done).status, "cancelled");
  assert.equal((await scan.results()).length, 2);
});

test("a request that is not valid names its field", async (t) => {
  await assert.rejects(client(t, url).discover({ symbols: ["NO/SUCH"], nonsense: 1 }), (error) => {
    assert.ok(error instanceof ScanError);
    assert.deepEqual([error.code, error.status], ["invalid_request", 422]);
    assert.match(JSON.stringify(error.errors), /nonsense|NO\/SUCH/);
    return true;
  });
});

test("the same key is the same scan; requests that are alike share one", async (t) => {
  const here = client(t, url);
  const { request } = await script(t);
  const one = await here.discover(request, { idempotencyKey: "key of this test" });
  const same = await here.discover(request, { idempotencyKey: "key of this test" });
  assert.equal(one.id, same.id);
  one.close();
  await same.cancel();
  assert.equal((await same.done).status, "cancelled", "the other one goes on");
});

test("catalogue, market, and scans", async (t) => {
  const here = client(t, url);
  const scan = await here.discover(QUICK);
  await scan.done;
  assert.ok((await here.strategies()).some(({ id, parameters }) => id === "tsmom" && parameters));
  assert.equal((await here.market()).market, "synthetic");
  const [first, second] = await here.scans({ limit: 2 });
  assert.ok(first.scan_id);
  assert.equal((await here.scans({ limit: 1, before: first.scan_id }))[0].scan_id, second.scan_id);
});

for (const rung of RUNGS) {
  test(`${rung}: to begin anew while nothing is followed costs the next scan nothing`, async (t) => {
    const here = client(t, url, { transports: [rung] });
    for (let turn = 0; turn < 2; turn += 1) { // before anything was followed, and after it
      here.reconnect();
      assert.equal((await (await here.discover(QUICK)).done).status, "complete");
    }
  });
}

test("nobody there: an error in time, and nothing is tried afterwards", async (t) => {
  let asked = 0;
  const counted = (...question) => (asked += 1, fetch(...question));
  const here = client(t, "http://127.0.0.1:9", { fetch: counted });
  await assert.rejects(here.discover({}, { timeout: 700 }), (error) => error instanceof Unreachable && error.code === "unreachable");
  const before = asked;
  assert.ok(before >= 1);
  await new Promise((resolve) => setTimeout(resolve, 1200));
  assert.equal(asked, before);
  await assert.rejects(here.discover({}, { signal: AbortSignal.timeout(100) }), { name: "TimeoutError" });
});

test("time is over: unreachable, whatever was in the way; what the server said is the cause", async (t) => {
  const problem = (code, status, headers = {}) =>
    () => new Response(JSON.stringify({ type: `urn:scanstream:error:${code}`, code, detail: code, status }), { status, headers });
  const ways = [
    [problem("overloaded", 503, { "Retry-After": "5" }), "overloaded"],
    [problem("rate_limited", 429), "rate_limited"],
    [problem("store_unavailable", 503), "store_unavailable"],
    [() => new Response("<html>", { status: 502 }), "unreachable"],
    [() => new Response("<html>", { status: 200 }), "unreachable"],
    [() => Promise.reject(new TypeError("fetch failed")), undefined],
    [(_, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))), undefined],
  ];
  await Promise.all(ways.map(async ([answer, code]) => {
    const keys = [];
    const fetch = async (address, options) => (keys.push(options.headers["Idempotency-Key"]), answer(address, options));
    const began = performance.now();
    const error = await client(t, "http://127.0.0.1:9", { fetch }).discover({}, { timeout: 600 }).catch((thrown) => thrown);
    assert.ok(error instanceof Unreachable && error instanceof ScanError, `${error}`);
    assert.deepEqual([error.code, error.cause?.code], ["unreachable", code]);
    assert.match(error.detail, /tried for 0\.6 s/);
    assert.ok(performance.now() - began > 550, "all of the time was given");
    assert.equal(new Set(keys).size, 1);
  }));
});

test("closed: iterators end, done rejects, the scan goes on", async (t) => {
  const { request, started } = await script(t);
  const here = new Client(url);
  const states = [];
  here.addEventListener("connection", ({ detail }) => states.push(detail.state));
  const scan = await here.discover(request);
  const tell = await started();
  const told = followed(scan, merge);
  await until(() => scan.state.market);
  here.close();
  here.close();
  await told;
  await assert.rejects(scan.done, Closed);
  assert.equal(here.connection.state, "closed");
  assert.equal(states.filter((state) => state === "closed").length, 1);
  await assert.rejects(here.discover(), Closed);
  assert.throws(() => here.watch(scan.id), Closed);
  tell("find 1", "end");
  const again = client(t, url).watch(scan.id);
  assert.equal((await again.done).total_opportunities, 1);
});

test("a token goes with every question, and is asked for again when it is refused", async (t) => {
  const tokens = ["old", "new"];
  const used = [];
  const guarded = async (address, options) => {
    used.push(options.headers.Authorization);
    return options.headers.Authorization === "Bearer new" ? fetch(address, options) : new Response("{}", { status: 401 });
  };
  const here = client(t, url, { fetch: guarded, token: async () => tokens.shift() ?? "none", transports: ["stream"] });
  const scan = await here.discover(QUICK);
  await scan.done;
  assert.deepEqual(used.slice(0, 2), ["Bearer old", "Bearer new"]);
  assert.ok(used.slice(1).every((header) => header === "Bearer new"));
});

test("a token that is refused for good ends all scans", async (t) => {
  const problem = JSON.stringify({ type: "urn:scanstream:error:unauthorized", code: "unauthorized", detail: "no" });
  let open = true;
  const guarded = (address, options) => (open ? fetch(address, options) : new Response(problem, { status: 401 }));
  const { request } = await script(t);
  const here = client(t, url, { fetch: guarded, token: () => "any", transports: ["poll"] });
  const scan = await here.discover(request);
  await until(() => scan.state.market);
  open = false;
  await assert.rejects(scan.done, { code: "unauthorized" });
});

test("Node ends with the last scan, and when a client is closed", async () => {
  const library = fileURLToPath(new URL("../../static/scanstream.js", import.meta.url));
  const held = { ...QUICK, parameters: { scripted: { shards: 1, control: "/nowhere" } } };
  const programs = {
    websocket: "const scan = await client.discover(quick); await scan.done;",
    stream: "const scan = await client.discover(held); scan.close(); await scan.cancel();",
    longpoll: "const scan = await client.discover(held); await scan.cancel(); client.close();",
    poll: "client.watch('latest', { since: 'zz-1.0' }); client.close();",
  };
  await Promise.all(Object.entries(programs).map(async ([rung, words]) => {
    const text = `import { Client } from ${JSON.stringify(library)};
      const client = new Client(${JSON.stringify(url)}, { transports: ["${rung}"] });
      const [quick, held] = ${JSON.stringify([QUICK, held])};
      ${words}`;
    const child = spawn(process.execPath, ["--experimental-websocket", "--no-warnings", "--input-type=module", "-e", text], { stdio: ["ignore", "inherit", "inherit"] });
    const [code] = await once(child, "exit");
    assert.equal(code, 0, `${rung}: ${words}`);
  }));
});

test("a server without an address, and a transport that is none, are told at once", () => {
  assert.throws(() => new Client(), /Say which server/);
  assert.throws(() => new Client(url, { transports: ["carrier pigeon"] }), /no transport carrier pigeon/);
});
