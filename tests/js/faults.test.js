// The library on networks that misbehave: it ends with the server's results, nothing lost, nothing twice.

import assert from "node:assert/strict";
import { test } from "node:test";

import { merge } from "../../static/scanstream.js";
import { MOST_SCANS } from "../../static/scanstream/line.js";
import { LongPollAttempt } from "../../static/scanstream/longpoll.js";
import { Pace } from "../../static/scanstream/pace.js";
import { client, fast, followed, ids, most, notedFetch, notedSockets, program, proxied, script, theServer, until } from "./support.js";

const { url } = await theServer();
const QUICK = { strategy_ids: ["scripted"], parameters: { scripted: { shards: 6, found: 3 } }, force_refresh: true };

/** A scan to its end through a network, told to go on step by step. */
async function through(t, network, options = {}) {
  const [sockets, questions] = [notedSockets(), notedFetch()];
  const here = client(t, network.url, { WebSocket: sockets.WebSocket, fetch: questions.fetch, ...options });
  let first = null;
  here.addEventListener("connection", ({ detail }) => {
    if (detail.state === "live") first ??= { ...detail, sockets: sockets.made.length };
  });
  const { request, started } = await script(t, 3);
  const scan = await here.discover(request, { timeout: 300_000 });
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
  if (options.clock === undefined) few(sockets, questions);
  return first;
}

/** At most two attempts in 500 ms, of each kind. */
function few(sockets, questions) {
  for (const [kind, made] of [["websocket", sockets.made], ...questions.made]) {
    assert.ok(most(made) <= 2, `${most(made)} of ${kind} in 500 ms`);
  }
}

test("no WebSockets: the stream, at once", async (t) => {
  const first = await through(t, await proxied(url, "--refuse-upgrade", "403"));
  assert.equal(first.transport, "stream");
  assert.match(first.reason, /WebSockets do not get through/);
  assert.ok(first.sockets <= 2, "a second one only where it was long ago that the server had answered");
});

test("WebSockets that are closed at once: down after three", async (t) => {
  const { transport, sockets } = await through(t, await proxied(url, "--close-at-once"));
  assert.deepEqual([transport, sockets], ["stream", 3]);
});

test("neither WebSockets nor streams: the long poll", async (t) => {
  const network = await proxied(url, "--refuse-upgrade", "501", "--buffer-streams");
  assert.equal((await through(t, network, { clock: fast(10) })).transport, "longpoll");
});

test("an open socket that falls silent is noticed, and costs nothing but time", async (t) => {
  const network = await proxied(url, "--mute", "both", "--mute-after", "0.3");
  const sockets = notedSockets();
  const here = client(t, network.url, { clock: fast(10), WebSocket: sockets.WebSocket });
  const { request, started } = await script(t, 2);
  const scan = await here.discover(request, { timeout: 300_000 });
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

test("many scans, over several connections that are all lost: few attempts all the same", async (t) => {
  const { request, started } = await script(t);
  const direct = client(t, url);
  const first = await direct.discover(request); // the others wait behind it
  const small = { ...QUICK, parameters: { scripted: { shards: 1, found: 0 } } };
  const others = await Promise.all(Array.from({ length: MOST_SCANS }, () => direct.discover(small)));
  const scanIds = [first, ...others].map(({ id }) => id);
  const tell = await started();
  for (const rung of ["websocket", "stream", "longpoll", "poll"]) {
    const network = await proxied(url, "--reset-every", "0.3", "--bad-gateway-every", "4");
    const [sockets, questions] = [notedSockets(), notedFetch()];
    const here = client(t, network.url, { transports: [rung], WebSocket: sockets.WebSocket, fetch: questions.fetch });
    for (const id of scanIds) here.watch(id);
    const begun = () => sockets.made.length + [...questions.made.values()].flat().length;
    await until(() => begun() >= 7, "it is tried again and again");
    few(sockets, questions);
    here.close();
  }
  tell("end");
  for (const { done } of [first, ...others]) assert.equal((await done).status, "complete");
});

/** A ping is to be answered within a second, also by a busy machine. */
const FASTER = { websocket: 4, stream: 20, longpoll: 1 };

for (const rung of ["websocket", "stream", "longpoll"]) {
  test(`${rung}: an end that is lost on its way is asked for, though nothing that follows shows the gap`, async (t) => {
    const network = await proxied(url, "--lose-ends", "1");
    const { made, WebSocket } = notedSockets();
    const here = client(t, network.url, { transports: [rung], WebSocket, clock: fast(FASTER[rung]) });
    const scripts = [await script(t), await script(t)];
    const scan = await here.discover(scripts[0].request, { timeout: 300_000 });
    const tell = await scripts[0].started();
    const other = await here.discover(scripts[1].request, { timeout: 300_000 });
    await until(() => [scan, other].every(({ state }) => state.market), "both are followed");
    tell("find 2", "end");
    assert.equal((await scan.done).total_opportunities, 2);
    assert.equal(scan.opportunities.length, 2);
    (await scripts[1].started())("find 1", "end");
    assert.equal((await other.done).status, "complete");
    assert.equal(made.length, rung === "websocket" ? 1 : 0);
  });
}

test("an answer takes no turn back that was given to another question", async () => {
  let now = 0;
  const pace = new Pace({ now: () => now, after: (_, call) => (call(), () => {}) });
  const first = await pace.turn();
  for (let turn = 1; turn < 3; turn += 1) await pace.turn(); // at 250 and 750, for two lines more
  now = 10;
  pace.over(first);
  await pace.turn();
  assert.equal(pace.due(now), 1500, "the fourth is at 1000, the third was at 750");
});

/** A browser, or a network, that sends requests in their order, and holds them up as long as it likes. */
function heldUp(random) {
  const [due, arrived] = [[], []];
  let [now, before] = [0, 0];
  const clock = {
    now: () => now,
    after: (ms, call) => {
      const one = { at: now + Math.max(0, ms) + (random() < 0.2 ? 400 * random() : 0), call }; // timers are late, too
      due.push(one);
      return () => due.includes(one) && due.splice(due.indexOf(one), 1);
    },
  };
  const json = (_, { body, signal }) =>
    new Promise((resolve, reject) => {
      before = Math.max(before, now + (random() < 0.3 ? 1500 * random() : 5 * random()));
      const answered = before + (body.wait ? 4000 * random() : 5) + 5;
      due.push({ at: before, call: () => arrived.push(now) });
      due.push({ at: answered, call: () => resolve({ status: 200, body: { frames: [] } }) });
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  /** What is due next, and all that follows from it. */
  const step = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    const next = due.sort((one, other) => other.at - one.at).pop();
    now = Math.max(now, next.at);
    next.call();
  };
  return { clock, arrived, step, requests: { json } };
}

test("long polls arrive apart, however long a browser holds them up, and whoever has them asked anew", async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    let state = seed;
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
    const { clock, arrived, step, requests } = heldUp(random);
    const tools = { around: { clock }, requests, pace: new Pace(clock), history: { opened: false } };
    const attempt = new LongPollAttempt(tools, { alive() {}, message() {}, lag() {}, lost: (verdict) => assert.fail(verdict.error) });
    const followed = [{ scanId: "scan_0", cursor: null, only: undefined }];
    attempt.follow([...followed]);
    while (arrived.length < 40) {
      await step();
      if (random() < 0.1) attempt.check();
      if (random() < 0.05) attempt.follow([...(followed.push({ ...followed[0], scanId: `scan_${followed.length}` }), followed)]);
    }
    attempt.close();
    const crowded = arrived.filter((at, number) => arrived[number + 2] - at < 500);
    assert.deepEqual(crowded, [], `seed ${seed}: three within half a second`);
  }
});

test("a lost answer to discover starts no second scan", async (t) => {
  const here = client(t, (await proxied(url, "--swallow-acks", "2")).url);
  const request = { ...QUICK, capital_usd: 4321 };
  const scan = await here.discover(request, { timeout: 300_000 });
  await scan.done;
  const scans = await client(t, url).scans({ limit: 50 });
  assert.equal(scans.filter(({ filters }) => filters.capital_usd === 4321).length, 1);
});

test("after a step down state and transport change together, though there is no news", async (t) => {
  const network = await proxied(url);
  const here = client(t, network.url);
  const { request, started } = await script(t);
  const scan = await here.discover(request, { timeout: 300_000 });
  const end = await started();
  await until(() => here.connection.transport === "websocket");
  const told = [];
  here.addEventListener("connection", ({ detail }) => told.push([detail.state, detail.transport].join(" ")));
  await network.end();
  await until(() => here.connection.state === "waiting");
  await program("tests/wire/proxy.py", url, "--port", network.port, "--close-at-once");
  await until(() => here.connection.state === "live", "a lower rung answers, which has no news to bring");
  assert.deepEqual([here.connection.transport, told.includes("live websocket")], ["stream", false]);
  end("find 1", "end");
  assert.equal((await scan.done).total_opportunities, 1);
});

test("back on the best rung when the trouble is over", async (t) => {
  const network = await proxied(url, "--refuse-upgrade", "403");
  const here = client(t, network.url, { clock: fast(10) });
  const { request, started } = await script(t);
  const scan = await here.discover(request, { timeout: 300_000 });
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
