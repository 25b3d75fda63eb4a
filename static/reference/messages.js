/** The WebSocket: what a client says and is answered, what the server tells, and how a connection ends. */
import { h } from "../page/dom.js";
import { resolved, table, words } from "./parts.js";

/** @typedef {import("./parts.js").Plain} Plain */

/** @param {Plain} asyncapi */
export function messages(asyncapi) {
  const channels = Object.entries(asyncapi.channels);
  return channels.map(([name, channel]) => told(asyncapi, name, channel));
}

/** @param {Plain} asyncapi @param {string} name @param {Plain} channel */
function told(asyncapi, name, channel) {
  const operations = Object.values(asyncapi.operations).filter((one) => one.channel.$ref === `#/channels/${name}`);
  const asked = operations.filter((one) => one.action === "receive");
  const sent = operations.filter((one) => one.action === "send").flatMap((one) => one.messages);
  const closes = Object.entries(channel["x-close-codes"] ?? {});
  return h(
    "article",
    {},
    h("h3", { id: `channel-${name}` }, h("code", {}, channel.address)),
    h("p", {}, ...words(channel.description)),
    asked.length > 0 &&
      table(
        "What a client says",
        ["Type", "Message", "Answered with"],
        asked.map((one) => [...kind(asyncapi, one.messages[0]), listed(asyncapi, one.reply.messages)]),
      ),
    table(
      "What the server tells",
      ["Type", "Message"],
      sent.map((one) => kind(asyncapi, one)),
    ),
    closes.length > 0 && table("How a connection ends", ["Close code", "Meaning"], closes.map(([code, why]) => [h("code", {}, code), why])),
  );
}

/** Type and schema of a message. @param {Plain} asyncapi @param {Plain} pointer */
function kind(asyncapi, pointer) {
  const message = resolved(asyncapi, pointer);
  return [h("code", {}, message.title), h("a", { href: `#schema-${message.name}` }, message.name)];
}

/** @param {Plain} asyncapi @param {Plain[]} pointers */
function listed(asyncapi, pointers) {
  return pointers.flatMap((pointer, place) => [place ? " or " : "", kind(asyncapi, pointer)[1]]);
}
