/** Schemas as people read them: a type in a few words, an object as a table of its fields. */
import { h } from "../page/dom.js";
import { table, words } from "./parts.js";

/** @typedef {import("./parts.js").Plain} Plain */

const PATCH = "Patch";
const BOUNDS = {
  minimum: "at least",
  exclusiveMinimum: "over",
  maximum: "at most",
  minLength: "characters, at least",
  maxLength: "characters, at most",
  minItems: "items, at least",
  maxItems: "items, at most",
  pattern: "like",
  default: "unless said",
};

/** @param {string} name */
const anchor = (name) => h("a", { href: `#schema-${name}` }, name);

/** A patch has the fields of what it is on, any of them absent. @param {string} name */
const pointed = (name) => (name.endsWith(PATCH) ? ["patch on ", anchor(name.slice(0, -PATCH.length))] : [anchor(name)]);

/** @param {any[][]} parts @param {string} between */
const joined = (parts, between) => parts.flatMap((part, place) => (place ? [between, ...part] : part));

/** A type, as text and links. @param {Plain} schema @returns {any[]} */
export function type(schema) {
  if (schema.$ref) return pointed(schema.$ref.split("/").pop());
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return joined(several.map(type), " or ");
  if (schema.allOf) return joined(schema.allOf.filter((/** @type {Plain} */ one) => one.$ref).map(type), " with ");
  if (schema.enum) return [schema.enum.map((/** @type {any} */ one) => JSON.stringify(one)).join(" | ")];
  if ("const" in schema) return [JSON.stringify(schema.const)];
  if (schema.type === "array") return ["list of ", ...(schema.items ? type(schema.items) : ["anything"])];
  const inside = schema.additionalProperties;
  if (schema.type === "object" && inside && inside !== true) return ["by name: ", ...type(inside)];
  return [schema.type ?? "anything"];
}

/** What a value has to be beside its type. @param {Plain} schema @returns {string} */
export function bounds(schema) {
  const own = Object.entries(BOUNDS)
    .filter(([name]) => name in schema && schema[name] !== null)
    .map(([name, told]) => `${told} ${name === "pattern" ? schema[name] : JSON.stringify(schema[name])}`);
  const inside = (schema.anyOf ?? []).map(bounds).filter(Boolean);
  return [...own, ...inside].join(", ");
}

/** Every schema with fields. @param {Record<string, Plain>} schemas */
export function kinds(schemas) {
  return Object.entries(schemas)
    .filter(([name, schema]) => schema.properties && !name.endsWith(PATCH))
    .sort(([one], [other]) => one.localeCompare(other))
    .map(([name, schema]) => kind(name, schema));
}

/** @param {string} name @param {Plain} schema */
function kind(name, schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties).map(([field, told]) => [
    h("code", {}, field),
    type(told),
    required.has(field) ? "always" : "",
    [words(told.description).concat(bounds(told) ? [h("small", {}, bounds(told))] : [])].flat(),
  ]);
  return h(
    "article",
    {},
    h("h3", { id: `schema-${name}` }, name),
    schema.description && h("p", {}, ...words(schema.description)),
    table(`Fields of ${name}`, ["Field", "Type", "There", "Meaning"], rows),
  );
}
