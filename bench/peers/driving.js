// What every peer on Node does beside serving: the same as driving.py.
import { createInterface } from "node:readline";

const UPDATE_BYTES = 280;
let number = 0;

function update() {
  number += 1;
  const head = `{"n":${number},"at":${process.hrtime.bigint()},"pad":"`;
  return head + "x".repeat(UPDATE_BYTES - head.length - 2) + '"}';
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export function listen(server) {
  server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
    console.log(`http://127.0.0.1:${server.address().port}`);
  });
}

export async function obey(broadcast) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [, count, perTick, milliseconds] = line.split(" ").map(Number);
    let due = performance.now();
    for (let done = 0; done < count; done += perTick) {
      await sleep(Math.max(0, due - performance.now()));
      for (let one = 0; one < perTick; one += 1) broadcast(update());
      due = Math.max(due + milliseconds, performance.now());
    }
    console.log(`done ${number}`);
  }
  process.exit(0);
}
