/** The first steps, in three languages, with this server's own address: each block runs as it stands. */
import { h } from "../page/dom.js";
import { code } from "./parts.js";

/** @param {string} home */
const curl = (home) => `curl -s ${home}/opportunities/discover -d '{"strategy_ids": ["tsmom"]}'
curl -s '${home}/opportunities/status/latest?wait=20'
curl -s '${home}/opportunities/results/latest?wait=60&limit=3'
curl -sN ${home}/opportunities/events/latest`;

/** @param {string} home */
const javascript = (home) => `import { Client } from "${home}/static/scanstream.js";

const client = new Client();
const scan = await client.discover({ strategy_ids: ["tsmom"] });
for await (const { state, opportunities } of scan)
  console.log(\`\${state.progress.percentage} %, \${opportunities.length} new\`);
console.log(scan.status);
client.close();`;

/** @param {string} home */
const python = (home) => `from scanstream.client import Client

with Client("${home}") as client:
    scan = client.discover(strategy_ids=["tsmom"])
    scan.wait(timeout=60)
    for found in scan.results()[:3]:
        print(found["symbol"], found["side"], found["confidence_score"])
    print(scan.status)`;

/** @param {string} home where the server is, without a slash at its end */
export function examples(home) {
  return [
    code("curl", curl(home)),
    code("JavaScript", javascript(home)),
    code("Python", python(home)),
    h(
      "p",
      { class: "hint" },
      "Where this server asks who you are: ",
      h("code", {}, "curl -H 'Authorization: Bearer …'"),
      ", ",
      h("code", {}, "new Client(undefined, { token })"),
      ", ",
      h("code", {}, "Client(url, token=…)"),
      ".",
    ),
  ];
}
