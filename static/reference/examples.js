/** The first steps, in three languages, with this server's own address: each block runs as it stands. */
import { h } from "../page/dom.js";
import { code } from "./parts.js";

/** Where the server asks who is there, each step shows a key, which is in the environment. @param {string} home @param {boolean} asks */
function curl(home, asks) {
  const key = asks ? ` -H "Authorization: Bearer $SCANSTREAM_TOKEN"` : "";
  return `curl -s ${home}/opportunities/discover${key} -d '{"strategy_ids": ["tsmom"]}'
curl -s '${home}/opportunities/status/latest?wait=20'${key}
curl -s '${home}/opportunities/results/latest?wait=60&limit=3'${key}
curl -sN ${home}/opportunities/events/latest${key}`;
}

/** @param {string} home @param {boolean} asks */
const javascript = (home, asks) => `import { Client } from "${home}/static/scanstream.js";

const client = new Client(${asks ? 'undefined, { token: prompt("Your key") }' : ""});
const scan = await client.discover({ strategy_ids: ["tsmom"] });
for await (const { state, opportunities } of scan)
  console.log(\`\${state.progress.percentage} %, \${opportunities.length} new\`);
console.log(scan.status);
client.close();`;

/** @param {string} home @param {boolean} asks */
const python = (home, asks) => `${asks ? "import os\n\n" : ""}from scanstream.client import Client

with Client("${home}"${asks ? ', token=os.environ["SCANSTREAM_TOKEN"]' : ""}) as client:
    scan = client.discover(strategy_ids=["tsmom"])
    scan.wait(timeout=60)
    for found in scan.results()[:3]:
        print(found["symbol"], found["side"], found["confidence_score"])
    print(scan.status)`;

/** @param {string} home where the server is, without a slash at its end @param {boolean} asks whether for a credential */
export function examples(home, asks) {
  const hint = asks
    ? h("p", { class: "hint" }, "This server asks who you are: put your key into ", h("code", {}, "SCANSTREAM_TOKEN"), ".")
    : null;
  const blocks = [code("curl", curl(home, asks)), code("JavaScript", javascript(home, asks)), code("Python", python(home, asks))];
  return hint ? [hint, ...blocks] : blocks;
}
