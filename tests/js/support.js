// What the tests of the library stand on: a real server, scans that do what they are told, networks that misbehave.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

import { Client } from "../../static/scanstream.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PYTHON = process.env.SCANSTREAM_PYTHON ?? join(ROOT, ".venv/bin/python");
const PLUGINS = join(ROOT, "tests/support/plugins");
const PATIENCE_MS = 60_000;

/** A program of this repository, once it has said where it listens; it ends with the tests. */
export async function program(...words) {
  const paths = [join(ROOT, "server"), PLUGINS];
  const child = spawn(PYTHON, words, { cwd: ROOT, env: { ...process.env, PYTHONPATH: paths.join(":") }, stdio: ["ignore", "pipe", "ignore"] });
  const kill = () => child.kill("SIGKILL");
  after(kill);
  for await (const line of createInterface({ input: child.stdout })) {
    const url = /http:\/\/\S+:\d+/.exec(line)?.[0];
    if (url) return { url, port: new URL(url).port, end: (signal = "SIGKILL") => ended(child, signal) };
  }
  throw new Error(`${words.join(" ")} ended without an address`);
}

async function ended(child, signal) {
  const over = once(child, "exit");
  child.kill(signal);
  await over;
}

/** A server; its data in memory unless said. */
export const server = (port = 0, data = ":memory:") => program("-m", "scanstream", "serve", "--port", String(port), "--data", data);

let shared;
/** The server that the tests of one file share. */
export const theServer = () => (shared ??= process.env.SCANSTREAM_URL ? { url: process.env.SCANSTREAM_URL } : server());

/** A network between here and a server, with faults. */
export const proxied = (url, ...faults) => program("tests/wire/proxy.py", url, ...faults);

/** A client that is closed with its test. */
export function client(t, url, options = {}) {
  const made = new Client(url, options);
  t.after(() => made.close());
  return made;
}

/** Until it holds. */
export async function until(holds, what) {
  const late = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > late) throw new Error(`in vain: ${what ?? holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A directory that is gone with the test. */
export function directory(t) {
  const path = mkdtempSync(join(tmpdir(), "scanstream-js-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A scan that does what it is told: see tests/support/plugins/scripted.py. A shard that is run again is told the same. */
export async function script(t, shards = 1) {
  const path = join(directory(t), "script");
  const seen = new Map();
  const unclaimed = [];
  const listener = createServer((socket) => {
    socket.on("error", () => {}); // its worker was stopped
    socket.once("data", (line) => {
      const number = String(line).split(" ")[0];
      const shard = seen.get(number) ?? { sockets: [], words: "" };
      if (!seen.has(number)) unclaimed.push(shard);
      seen.set(number, shard);
      shard.sockets.push(socket);
      if (shard.words) socket.write(shard.words);
    });
    t.after(() => socket.destroy());
  });
  listener.listen(path);
  await once(listener, "listening");
  t.after(() => listener.close());
  return {
    request: { strategy_ids: ["scripted"], parameters: { scripted: { shards, control: path } }, force_refresh: true },
    /** What tells the next shard all that it is to do. */
    async started() {
      await until(() => unclaimed.length, "the next shard starts");
      const shard = unclaimed.shift();
      return (...words) => {
        shard.words = words.map((word) => `${word}\n`).join("");
        for (const socket of shard.sockets) socket.write(shard.words);
      };
    },
  };
}

/** Time that runs so many times faster. A timer of Node may be early by a part of a millisecond, which is more here. */
export const fast = (times) => {
  const now = () => performance.now() * times;
  const after = (ms, call) => {
    const due = now() + Math.max(0, ms);
    let timer;
    const look = () => (now() < due ? (timer = setTimeout(look, (due - now()) / times)) : call());
    timer = setTimeout(look, (due - now()) / times);
    return () => clearTimeout(timer);
  };
  return { now, after };
};

/** A constructor of WebSockets that notes when each was made. */
export function notedSockets() {
  const made = [];
  return {
    made,
    WebSocket: class extends globalThis.WebSocket {
      constructor(...given) {
        super(...given);
        made.push({ at: performance.now(), socket: this });
      }
    },
  };
}

/** A `fetch` that notes when it was called, by what it asked for: a rung, or something else. */
export function notedFetch() {
  const made = new Map();
  return {
    made,
    fetch: (address, options) => {
      const { pathname } = new URL(address);
      const rung = pathname.endsWith("/follow") ? options.headers.Accept : pathname.replace(/scan_.*/, "");
      made.set(rung, [...(made.get(rung) ?? []), { at: performance.now() }]);
      return fetch(address, options);
    },
  };
}

/** The most that were made within 500 ms. */
export const most = (made) => Math.max(0, ...made.map(({ at }) => made.filter((other) => other.at >= at && other.at < at + 500).length));

/** What an iterator tells, together: nothing lost, nothing twice, each patch right. */
export async function followed(scan, merge, pause = async () => {}) {
  const updates = [];
  let state = {};
  const opportunities = [];
  for await (const update of scan) {
    state = merge(update.reset ? {} : state, update.patch);
    opportunities.push(...update.opportunities);
    updates.push({ ...update, merged: state });
    await pause(update);
  }
  return { updates, state, opportunities };
}

export const ids = (opportunities) => opportunities.map(({ id }) => id).sort();
