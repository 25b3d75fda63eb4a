/** The paths of HTTP, one after the other: what may be asked, and what is answered. */
import { h } from "../page/dom.js";
import { resolved, table, words } from "./parts.js";
import { bounds, type } from "./schemas.js";

/** @typedef {import("./parts.js").Plain} Plain */

const METHODS = ["get", "post", "put", "patch", "delete"];
const ALSO = ["head", "options"];

/** The headers that every answer may have: said once. @param {Plain} openapi @returns {Set<string>} */
function common(openapi) {
  const all = Object.values(openapi.components.responses).map((told) => Object.keys(told.headers));
  return new Set(all.reduce((kept, one) => kept.filter((name) => one.includes(name))));
}

/** @param {Plain} openapi */
export function operations(openapi) {
  const told = [...common(openapi)].sort().join(", ");
  return [h("p", { class: "hint" }, `Any answer may have these headers: ${told}.`), ...each(openapi)];
}

/** @param {Plain} openapi @returns {any[]} */
function each(openapi) {
  return Object.entries(openapi.paths).flatMap(([path, methods]) =>
    METHODS.filter((method) => method in methods).map((method) => operation(openapi, path, method, methods)),
  );
}

/** @param {Plain} openapi @param {string} path @param {string} method @param {Plain} methods */
function operation(openapi, path, method, methods) {
  const told = methods[method];
  const also = ALSO.filter((other) => other in methods).map((other) => other.toUpperCase());
  const access = (told.security ?? []).flatMap((/** @type {Plain} */ way) => Object.keys(way));
  return h(
    "article",
    {},
    h(
      "h3",
      { id: `operation-${told.operationId}`, "data-short": path },
      h("span", { class: "method" }, method.toUpperCase()),
      " ",
      h("code", {}, path),
    ),
    h("p", {}, ...words(told.summary)),
    h(
      "p",
      { class: "hint" },
      access.length > 0 ? `Where a credential is asked for: ${access.join(" or ")}. ` : "For everybody. ",
      also.length > 0 && `Also ${also.join(" and ")}.`,
    ),
    parameters(openapi, told.parameters ?? []),
    body(told.requestBody),
    answers(openapi, told.responses),
  );
}

/** @param {Plain} openapi @param {Plain[]} given */
function parameters(openapi, given) {
  if (given.length === 0) return null;
  const rows = given
    .map((one) => resolved(openapi, one))
    .map((one) => [
      h("code", {}, one.name),
      one.in,
      [...type(one.schema), bounds(one.schema) && h("small", {}, bounds(one.schema))].filter(Boolean),
      [one.required ? h("b", {}, "Required. ") : "", ...words(one.description)],
    ]);
  return table("Parameters", ["Parameter", "In", "Type", "Meaning"], rows);
}

/** @param {Plain | undefined} told */
function body(told) {
  if (!told) return null;
  const kinds = Object.entries(told.content).flatMap(([media, content]) => [h("code", {}, media), ": ", ...type(content.schema)]);
  return h("p", {}, told.required ? "Body, required: " : "Body: ", ...kinds);
}

/** What is granted; what is refused is in one line, as it is told below. @param {Plain} openapi @param {Plain} responses */
function answers(openapi, responses) {
  const all = Object.entries(responses).map(([status, told]) => /** @type {[string, Plain]} */ ([status, resolved(openapi, told)]));
  const every = common(openapi);
  const granted = all.filter(([status]) => Number(status) < 400);
  const rows = granted.map(([status, told]) => [
    h("code", {}, status),
    words(told.description),
    content(told),
    h("small", {}, Object.keys(told.headers ?? {}).filter((name) => !every.has(name)).join(", ")),
  ]);
  const refused = all.filter(([status]) => Number(status) >= 400).map(([status]) => status);
  return [
    table("Answers", ["Status", "Meaning", "Body", "Headers"], rows),
    h("p", { class: "hint" }, "Refused with ", h("a", { href: "#errors" }, refused.join(", ")), "."),
  ].reduce((all, one) => (all.append(one), all), h("div"));
}

/** @param {Plain} told @returns {any[]} */
function content(told) {
  return Object.entries(told.content ?? {}).flatMap(([media, one], place) => [
    place ? h("br") : "",
    h("code", {}, media),
    " ",
    ...inside(one.schema),
  ]);
}

/** @param {Plain} schema @returns {any[]} */
function inside(schema) {
  if (schema["x-lines"]) return ["lines of ", ...type(schema["x-lines"])];
  if (!schema["x-events"]) return type(schema);
  return Object.entries(schema["x-events"]).flatMap(([name, one], place) => [place ? ", " : "events ", h("code", {}, name), " ", ...type(one)]);
}
