// A server that wants to know who asks: on each rung, with a key that ends on the way, and with a token for one scan.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

import { client, directory, program, script, until } from "./support.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PYTHON = process.env.SCANSTREAM_PYTHON ?? join(ROOT, ".venv/bin/python");
const RUNGS = ["websocket", "stream", "longpoll", "poll"].filter((rung) => rung !== "websocket" || globalThis.WebSocket);

/** `scanstream key …` @param {string} file @param {...string} words */
function key(file, ...words) {
  const env = { ...process.env, PYTHONPATH: join(ROOT, "server") };
  const ran = spawnSync(PYTHON, ["-m", "scanstream", "key", ...words, "--keys", file], { env, encoding: "utf8" });
  assert.equal(ran.status, 0, ran.stderr);
  return ran.stdout.trim();
}

const serve = (keys) => program("-m", "scanstream", "serve", "--port", "0", "--data", ":memory:", "--workers", "1", "--auth", "required", "--keys", keys);

test("a token out of a file has no newline, and what can be none is refused without a word of it", { timeout: 120_000 }, async (t) => {
  const keys = join(directory(t), "keys.toml");
  const ann = key(keys, "create", "ann", "--principal", "ann");
  const { url } = await serve(keys);
  for (const token of [`${ann}\n`, ` ${ann}\r\n`, () => `${ann}\n`]) {
    assert.ok(Array.isArray(await client(t, url, { token }).strategies()));
  }
  for (const wrong of [`${ann}\nx`, `${ann}\0`, `${ann}é`, `${ann}€`, `Bearer ${ann}`, 7, true]) {
    const refused = [];
    const kept = (error) => (refused.push(error), true);
    assert.throws(() => client(t, url, { token: wrong }), kept);
    await assert.rejects(client(t, url, { token: () => wrong }).strategies({ timeout: 500 }), kept);
    for (let error of refused) for (; error; error = error.cause) assert.ok(!`${error.stack}${error.message}`.includes(ann));
  }
});

test("a key that is revoked on the way is replaced, and one that cannot be is the end", { timeout: 120_000 }, async (t) => {
  const keys = join(directory(t), "keys.toml");
  const made = ["one", "two"].map((name) => key(keys, "create", name, "--principal", "ann"));
  const { url } = await serve(keys);
  const told = await script(t, 2 * RUNGS.length);
  const started = [];
  for (const rung of RUNGS) {
    const given = [];
    const renewed = client(t, url, { transports: [rung], token: () => (given.push(made[Math.min(given.length, 1)]), given.at(-1)) });
    const fixed = client(t, url, { transports: [rung], token: made[0] });
    const scan = await renewed.discover({ ...told.request, force_refresh: true });
    const same = fixed.watch(scan.id);
    const left = assert.rejects(same.done, { code: "unauthorized" });
    await until(() => scan.cursor && same.state.status, "both follow");
    started.push({ rung, given, scan, left });
  }
  key(keys, "revoke", "one");
  await Promise.all(started.map(({ left }) => left));
  for (const { rung, given, scan } of started) {
    await until(() => given.length === 2, `${rung} asks again`);
    await scan.cancel();
    assert.equal((await scan.done).status, "cancelled");
    assert.equal(given.length, 2, rung);
  }
});

test("a token follows its scan, and opens nothing else", { timeout: 120_000 }, async (t) => {
  const keys = join(directory(t), "keys.toml");
  const ann = key(keys, "create", "ann", "--principal", "ann");
  const { url } = await serve(keys);
  const owner = client(t, url, { token: ann });
  const scan = await owner.discover({ symbols: ["BTC/USDT"], strategy_ids: ["tsmom"], parameters: { tsmom: { walk_forward: 0 } } });
  const { token, links, rights } = await scan.share({ expiresIn: 60 });
  assert.deepEqual(rights, ["read"]);
  assert.equal(links.page, `/#${scan.id}&token=${token}`);
  for (const rung of RUNGS) {
    const guest = client(t, url, { token, transports: [rung] });
    assert.equal((await guest.watch(scan.id).done).status, "complete");
    await assert.rejects(guest.watch(scan.id).cancel(), { code: "forbidden", status: 403 });
    await assert.rejects(guest.discover({}), { code: "forbidden" });
    await assert.rejects(guest.scans(), { code: "forbidden" });
  }
  await assert.rejects(client(t, url).watch(scan.id).done, { code: "unauthorized" });
});
