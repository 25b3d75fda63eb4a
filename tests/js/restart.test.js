// Servers that go away and come back, in the midst of a scan.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { merge } from "../../static/scanstream.js";
import { client, directory, followed, ids, script, server, until } from "./support.js";

const RUNGS = ["websocket", "stream", "longpoll", "poll"];

test("a server that is restarted and killed costs nothing but time", async (t) => {
  const data = join(directory(t), "data");
  const { request, started } = await script(t, 2);
  let here = await server(0, data);
  const readers = RUNGS.map((rung) => client(t, here.url, { transports: [...new Set([rung, "poll"])], random: () => 0 }));
  const transports = () => readers.map(({ connection }) => connection.transport);
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
    if (signal === "SIGTERM") assert.deepEqual(transports(), RUNGS); // a restart that was announced costs no rung
  }
  // Attempts on which a quiet scan had no news count as barren, so one may have stepped down: it climbs by itself.
  await until(() => transports().join() === RUNGS.join(), "all are on their rung");
  (await started())("find 3", "end");
  for (const [index, scan] of scans.entries()) {
    assert.equal((await scan.done).status, "complete");
    const { opportunities } = await told[index];
    assert.deepEqual(ids(opportunities), ids(await scan.results()));
    assert.equal(opportunities.length, 5);
  }
});
