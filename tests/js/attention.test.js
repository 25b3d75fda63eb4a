// Pages that nobody looks at, and networks that come back: a stand-in for the browser's document, a real server.

import assert from "node:assert/strict";
import { test } from "node:test";

import { client, fast, most, notedSockets, proxied, script, theServer, until } from "./support.js";

const { url } = await theServer();

/** A browser's document and window, as far as the library looks at them. */
function browser(t) {
  const page = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const frame = new EventTarget();
  globalThis.document = page;
  globalThis.addEventListener = frame.addEventListener.bind(frame);
  globalThis.removeEventListener = frame.removeEventListener.bind(frame);
  t.after(() => ["document", "addEventListener", "removeEventListener"].forEach((name) => delete globalThis[name]));
  return {
    show(state) {
      page.visibilityState = state;
      page.dispatchEvent(new Event("visibilitychange"));
    },
    happens: (name) => frame.dispatchEvent(new Event(name)),
  };
}

test("hidden for more than a minute: paused; shown again: caught up", async (t) => {
  const { show } = browser(t);
  const sockets = notedSockets();
  const here = client(t, url, { clock: fast(30), WebSocket: sockets.WebSocket });
  const { request, started } = await script(t, 2);
  const scan = here.watch((await client(t, url).discover(request)).id);
  await until(() => here.connection.state === "live");
  show("hidden");
  assert.equal(here.connection.state, "live");
  await until(() => here.connection.state === "paused");
  const before = sockets.made.length;
  (await started())("find 2", "end");
  await until(async () => (await (await fetch(`${url}/opportunities/status/${scan.id}`)).json()).total_opportunities === 2);
  assert.equal(scan.opportunities.length, 0);
  assert.equal(sockets.made.length, before);
  show("visible");
  await until(() => scan.opportunities.length === 2);
  assert.equal(here.connection.state, "live");
  (await started())("end");
  await scan.done;
});

test("hidden behind a proxy that refuses WebSockets: polled, and no stream is kept open", async (t) => {
  const { show } = browser(t);
  const network = await proxied(url, "--refuse-upgrade", "403");
  const open = new Set();
  const watched = (address, options) => {
    if (String(address).endsWith("/follow")) {
      open.add(options.signal);
      options.signal.addEventListener("abort", () => open.delete(options.signal));
    }
    return fetch(address, options);
  };
  const here = client(t, network.url, { fetch: watched });
  const { request, started } = await script(t);
  const scan = await here.discover(request);
  await until(() => here.connection.transport === "stream");
  assert.equal(open.size, 1);
  show("hidden");
  await until(() => here.connection.transport === "poll");
  assert.equal(open.size, 0);
  show("visible");
  await until(() => here.connection.transport === "stream", "back at once");
  (await started())("find 1", "end");
  assert.equal((await scan.done).total_opportunities, 1);
});

test("a network that comes back gives one check, not three", async (t) => {
  const { show, happens } = browser(t);
  const sockets = notedSockets();
  let listening = false;
  const broken = class extends sockets.WebSocket {
    constructor(address, protocols) {
      super(listening ? address : "ws://127.0.0.1:9", protocols);
    }
  };
  const offline = (address, options) => (String(address).endsWith("healthz") && !listening ? Promise.reject(new TypeError("offline")) : fetch(address, options));
  const here = client(t, url, { WebSocket: broken, fetch: offline, random: () => 1, transports: ["websocket"] });
  const { request, started } = await script(t);
  const scan = await here.discover(request);
  await until(() => here.connection.state === "waiting" && here.connection.attempts >= 2);
  const before = sockets.made.length;
  listening = true;
  for (let again = 0; again < 3; again += 1) {
    happens("online");
    show("visible");
    happens("pageshow");
  }
  await until(() => here.connection.state === "live");
  assert.equal(sockets.made.length, before + 1);
  assert.ok(most(sockets.made) <= 2);
  (await started())("end");
  await scan.done;
});

test("three tabs at most keep a stream open; the others poll", async (t) => {
  browser(t);
  const held = new Set();
  const locks = {
    async request(name, { ifAvailable }, call) {
      assert.ok(ifAvailable);
      if (held.has(name)) return call(null);
      held.add(name);
      try {
        return await call({ name });
      } finally {
        held.delete(name);
      }
    },
  };
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  t.after(() => before ? Object.defineProperty(globalThis, "navigator", before) : delete globalThis.navigator);
  const { request, started } = await script(t);
  const tabs = Array.from({ length: 7 }, () => client(t, url, { transports: ["stream", "longpoll", "poll"] }));
  const scan = await tabs[0].discover(request);
  const scans = [scan, ...tabs.slice(1).map((tab) => tab.watch(scan.id))];
  await until(() => tabs.every(({ connection }) => connection.state === "live"));
  const transports = tabs.map(({ connection }) => connection.transport).sort();
  assert.deepEqual(transports, ["poll", "poll", "poll", "poll", "stream", "stream", "stream"]);
  (await started())("find 1", "end");
  for (const one of scans) assert.equal((await one.done).total_opportunities, 1);
  await until(() => held.size === 0, "what was taken is given back");
});

test("where site data is blocked there are no locks, and a stream is kept open all the same", async (t) => {
  browser(t);
  const locks = { request: () => Promise.reject(new DOMException("The request was denied.", "SecurityError")) };
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  t.after(() => before ? Object.defineProperty(globalThis, "navigator", before) : delete globalThis.navigator);
  const { request, started } = await script(t);
  const here = client(t, url, { transports: ["stream", "poll"] });
  const scan = await here.discover(request);
  await until(() => here.connection.state === "live");
  assert.equal(here.connection.transport, "stream");
  (await started())("end");
  await scan.done;
});
