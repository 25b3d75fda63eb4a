/** The contract for people: made from the two documents for machines, as this server serves them. */
import { element, h, write } from "../page/dom.js";
import { errors } from "./errors.js";
import { examples } from "./examples.js";
import { messages } from "./messages.js";
import { operations } from "./operations.js";
import { kinds } from "./schemas.js";

/** @typedef {import("./parts.js").Plain} Plain */

const home = new URL("../../", import.meta.url);

/** @param {string} name @returns {Promise<Plain>} */
async function read(name) {
  const answer = await fetch(new URL(name, home));
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return answer.json();
}

/** What is on the page, to go there: each part, and what is in it. */
function contents() {
  const list = element("contents");
  for (const section of document.querySelectorAll("main > section")) {
    const title = section.querySelector("h2")?.textContent ?? "";
    const inside = [...section.querySelectorAll("h3[id]")].map((part) =>
      h("li", {}, h("a", { href: `#${part.id}` }, part.getAttribute("data-short") ?? part.textContent)),
    );
    list.append(h("li", {}, h("a", { href: `#${section.id}` }, title), inside.length > 0 && h("ul", {}, ...inside)));
  }
}

async function begin() {
  const steps = element("examples");
  steps.append(...examples(home.href.replace(/\/$/, ""), steps.dataset.asks === "yes")); // the server has written that
  const [openapi, asyncapi] = await Promise.all([read("openapi.json"), read("asyncapi.json")]);
  write(element("version"), openapi.info.version);
  element("operations").append(...operations(openapi));
  element("messages").append(...messages(asyncapi));
  element("codes").append(errors(openapi));
  element("kinds").append(...kinds({ ...asyncapi.components.schemas, ...openapi.components.schemas }));
  contents();
  document.documentElement.dataset.begun = "";
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

begin().catch((error) => {
  write(element("trouble"), `The documents cannot be read: ${error.message}. Load the page again.`);
  element("trouble").hidden = false;
});
