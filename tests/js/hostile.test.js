// Servers that say what they should not: nothing of it is believed, nothing of it ends a client, or Node.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Updates } from "../../static/scanstream/updates.js";
import { Reader } from "../../static/scanstream/reader.js";
import { client, fast, until } from "./support.js";

const HERE = "http://127.0.0.1:9";
const STATE = { status: "scanning", phase: "init", total_opportunities: 0 };
const FIRST = { type: "snapshot", scan_id: "s", cursor: "k-1.0", state: STATE, opportunities: [], offset: 0 };
const LAST = [
  { type: "update", scan_id: "s", cursor: "k-5.1", patch: { status: "complete", phase: "done" }, opportunities: [{ id: "a" }], offset: 0, skipped: 3 },
  { type: "end", scan_id: "s", cursor: "k-5.1", status: "complete" },
];

/** A constructor of WebSockets whose server says so much on each connection after the first subscription, text or not. */
function sockets(...connections) {
  const asked = [];
  return {
    asked,
    WebSocket: class extends EventTarget {
      constructor() {
        super();
        setTimeout(() => this.dispatchEvent(new Event("open")));
      }

      send(text) {
        const message = JSON.parse(text);
        asked.push(message);
        if (message.type !== "subscribe") return;
        const said = [{ type: "ack", id: message.id, scan_id: "s" }, ...(connections.shift() ?? [])];
        for (const one of said) setTimeout(() => this.say(typeof one === "string" ? one : JSON.stringify(one)));
      }

      say(data) {
        this.dispatchEvent(new MessageEvent("message", { data }));
      }

      close() {}
    },
  };
}

const STRANGE = [
  {}, { type: null, scan_id: null }, { type: ["update"], scan_id: "s" }, { type: "__proto__" }, { type: "toString", scan_id: "s", cursor: "k-1.0" },
  { type: "weather", scan_id: ["s"], id: { s: 1 } }, { type: "update", scan_id: ["s"], cursor: "k-9.0", patch: { phase: "x" } },
  { type: "end", scan_id: 7, cursor: "k-1.0" }, { type: "snapshot", scan_id: "another", cursor: "z-9.0", state: { status: "failed" } },
  { type: "error", scan_id: "another", code: "not_found", detail: 7, errors: 1 }, { type: "pong", id: 7 }, { type: "ack", id: ["1"] },
];

test("messages of any shape end nothing", async (t) => {
  const { WebSocket } = sockets([FIRST, ...STRANGE, ...LAST]);
  const here = client(t, HERE, { WebSocket, transports: ["websocket"] });
  const scan = here.watch("s");
  assert.equal((await scan.done).phase, "done");
  assert.deepEqual([scan.opportunities, here.connection.transport], [[{ id: "a" }], "websocket"]);
});

const MALFORMED = [
  { type: "update", cursor: "k-9.1", patch: { phase: "gap" }, opportunities: [{ id: "z" }], offset: 0, skipped: 3 },
  { type: "update", cursor: "k-2.1", patch: { phase: "gap" }, skipped: 0 },
  { type: "update", cursor: "z-2.0", patch: { phase: "gap" }, skipped: 0 },
  { type: "update", cursor: "k-2.0" },
  { type: "update", patch: { phase: "gap" } },
  { type: "update", cursor: "k-2.1", patch: {}, opportunities: [7], offset: 0, skipped: 0 },
  { type: "snapshot", cursor: "k-2.0", state: null },
  { type: "end", cursor: "k-9.1", status: "complete" },
  "{", "7", "[]", "null",
];

for (const frame of MALFORMED) {
  test(`never taken, and asked for again: ${JSON.stringify(frame)}`, async (t) => {
    const bad = typeof frame === "string" ? frame : { ...frame, scan_id: "s" };
    const { asked, WebSocket } = sockets([FIRST, bad, { ...LAST[0], skipped: 99 }, LAST[1]], LAST);
    const scan = client(t, HERE, { WebSocket, transports: ["websocket"], clock: fast(5) }).watch("s");
    const phases = [];
    for await (const { state } of scan) phases.push(state.phase);
    assert.deepEqual(asked.filter(({ type }) => type === "subscribe").map(({ since }) => since), [undefined, "k-1.0"]);
    assert.deepEqual(phases, ["init", "done"]);
  });
}

test("an error of one scan that passes is waited out on every rung", async (t) => {
  const passing = { type: "error", scan_id: "s", code: "store_unavailable", detail: "…", retry_after: 0 };
  const answers = [[passing], [FIRST], LAST];
  const fetch = async () => new Response(JSON.stringify({ frames: answers.shift() ?? [] }), { headers: { "Content-Type": "application/json" } });
  const scan = client(t, HERE, { fetch, transports: ["longpoll"] }).watch("s");
  assert.equal((await scan.done).phase, "done");
});

test("a redirect is not followed, and JSON of somebody else is no answer", async (t) => {
  const asked = [];
  const bodies = [{ status: 302, headers: { Location: "/login" } }, {}, { status: 404 }];
  const ack = { scan_id: "s", status: "initiated", progress: {}, cursor: "k-0.0" };
  const fetch = async (address, options) => {
    asked.push([options.method, options.redirect]);
    const next = bodies.shift();
    if (next) return new Response(next.status === 302 ? null : '{"status": "ok"}', next);
    return new Response(JSON.stringify(ack), { status: 202 });
  };
  const here = client(t, HERE, { fetch, WebSocket: sockets([FIRST, ...LAST]).WebSocket, transports: ["websocket"] });
  const scan = await here.discover({}, { timeout: 60_000 });
  await scan.done;
  assert.equal(scan.id, "s");
  assert.deepEqual(asked.slice(0, 4), Array(4).fill(["POST", "manual"]));
});

test("429 with Retry-After is waited out with the same key", async (t) => {
  const asked = [];
  const ack = { scan_id: "s", status: "initiated", progress: {}, cursor: "k-0.0" };
  const fetch = async (_, { headers }) => {
    asked.push({ key: headers["Idempotency-Key"], at: performance.now() });
    return asked.length < 2 ? new Response("", { status: 429, headers: { "Retry-After": "1" } }) : new Response(JSON.stringify(ack), { status: 202 });
  };
  const scan = await client(t, HERE, { fetch, WebSocket: sockets([FIRST, ...LAST]).WebSocket, transports: ["websocket"] }).discover();
  await scan.done;
  assert.equal(new Set(asked.map(({ key }) => key)).size, 1);
  assert.ok(asked[1].at - asked[0].at >= 1000);
});

/** Time that goes on with its timers alone, from one to the next: nothing is late, however busy the machine is. */
function leaping() {
  const due = [];
  let now = 0;
  const after = (ms, call) => {
    const one = { at: now + Math.max(0, ms), call };
    due.push(one);
    return () => due.includes(one) && due.splice(due.indexOf(one), 1);
  };
  const leap = () => {
    const next = due.sort((one, other) => other.at - one.at).pop();
    now = Math.max(now, next?.at ?? 0);
    next?.call();
  };
  return { clock: { now: () => now, after }, leap };
}

test("a socket that does not open is given up after 10 s", async (t) => {
  const { clock, leap } = leaping();
  const made = [];
  class Stuck extends EventTarget {
    constructor() {
      super();
      this.began = clock.now();
      made.push(this);
    }

    close() {
      this.took ??= clock.now() - this.began;
    }
  }
  client(t, HERE, { WebSocket: Stuck, transports: ["websocket"], clock, fetch: async () => new Response("{}") }).watch("s");
  await until(() => made.length === 2 || leap(), "the next one");
  assert.ok(made[0].took >= 10_000 && made[0].took < 15_000, `${made[0].took}`);
});

test("a body that sleeps through a hundred thousand updates is told the newest", () => {
  const reader = new Reader("s", undefined);
  reader.take(FIRST);
  const updates = new Updates(reader);
  updates.take();
  for (let seq = 2; seq <= 100_001; seq += 1) reader.take({ type: "update", cursor: `k-${seq}.0`, patch: { n: seq }, skipped: 0 });
  const { state, patch, skipped } = updates.take();
  assert.deepEqual([state.n, patch, skipped, updates.news], [100_001, { n: 100_001 }, 99_999, false]);
});

test("after a snapshot in place of what was held no opportunity is told again", () => {
  const reader = new Reader("s", undefined);
  const [a, b, c] = ["a", "b", "c"].map((id) => ({ id }));
  reader.take({ ...FIRST, cursor: "k-5.2", opportunities: [a, b] });
  const updates = new Updates(reader);
  assert.deepEqual(updates.take().opportunities, [a, b]);
  reader.take({ ...FIRST, cursor: "zz-3.2", opportunities: [b, c] });
  const { opportunities, reset } = updates.take();
  assert.deepEqual([opportunities, reset], [[c], true]);
});

test("a token that cannot be had is said to be what is missing", async (t) => {
  const token = () => { throw new Error("the vault is shut"); };
  await assert.rejects(client(t, HERE, { token }).discover({}, { timeout: 300 }), /no token to be had.*the vault is shut/);
});

test("a token is renewed on the open socket before it runs out", async (t) => {
  const jwt = (ms) => ["e30", btoa(JSON.stringify({ exp: (Date.now() + ms) / 1000 })).replace(/=+$/, ""), "c2ln"].join(".");
  const given = [];
  const token = () => (given.push(jwt(given.length ? 3_600_000 : 2_000)), given.at(-1));
  const { asked, WebSocket } = sockets([FIRST]);
  client(t, HERE, { token, WebSocket, transports: ["websocket"] }).watch("s");
  const renewal = await until(() => asked.find(({ type }) => type === "authenticate"));
  assert.deepEqual([renewal.token, given.length], [given[1], 2]);
});
