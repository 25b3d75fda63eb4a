// Every name of the library as somebody's program in TypeScript uses it; `.ci/page-types` compiles it against static/types.

import { Client, Closed, ScanError, Unreachable, type Connection, type Options, type Scan, type Update } from "scanstream";
import { ScanProgress } from "scanstream/scan-progress.js";

const options: Options = { token: async () => "t", transports: ["websocket", "stream", "longpoll", "poll"], fetch, WebSocket };
const client = new Client("http://127.0.0.1:8000", options);
new Client();
new Client(new URL("http://127.0.0.1:8000"), { token: "t", transports: ["poll"] as const });

const { signal } = new AbortController();
const scan: Scan = await client.discover({ strategy_ids: ["tsmom"] }, { signal, timeout: 1000, idempotencyKey: "k" });
for await (const update of scan) {
  const told: Update = update;
  const [cursor, skipped]: [string, number] = [told.cursor, told.skipped];
  console.log(told.state.status, told.patch, told.opportunities[0]?.symbol, cursor, skipped);
}
const [id, status, found]: [string, string, number] = [scan.id, scan.status, scan.opportunities.length];
const since: string | null = scan.cursor;
console.log(id, status, found, (await scan.done).status, (await scan.results()).map(({ symbol }) => symbol), await scan.cancel());
scan.addEventListener("update", ({ detail }) => console.log(detail.opportunities.length, detail.cursor));
scan.addEventListener("end", ({ detail }) => console.log(detail.status), { once: true });
scan.addEventListener("error", ({ detail }) => console.log(detail.code, detail.retryAfter));
scan.close();

const same: Scan = client.watch("latest", { since, only: "state" });
client.watch(same.id);
client.addEventListener("connection", ({ detail }) => console.log(detail.state === "paused", detail.retryAt));
const { state, transport, attempts, retryAt, lag, reason }: Connection = client.connection;
console.log(state, transport, attempts, retryAt, lag, reason);
console.log((await client.strategies())[0], (await client.market()).symbols, await client.scans({ limit: 3, before: id }));
client.reconnect();
client.close();

export function told(error: unknown): string {
  if (error instanceof Closed || error instanceof Unreachable) return error.code;
  if (error instanceof ScanError) return `${error.detail} ${error.status} ${error.errors[0]?.field} ${error.retryAfter}`;
  return "";
}

const element = new ScanProgress();
element.scanId = "latest";
element.url = "/scans";
element.scan = scan;
element.client = client;
element.addEventListener("scan-update", ({ detail }) => console.log(detail.cursor));
element.addEventListener("scan-end", ({ detail }) => console.log(detail.status));
element.addEventListener("click", ({ clientX }) => console.log(clientX));
await element.cancel();

// @ts-expect-error  there is `only: "state"`
client.watch(id, { only: "nothing" });
// @ts-expect-error  no such transport
new Client("http://127.0.0.1:8000", { transports: ["carrier pigeon"] });
