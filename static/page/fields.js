/** Fields of a form from a JSON Schema, as the catalogue has one for each strategy's parameters. */
import { h, tell } from "./dom.js";
import { spoken } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */
/**
 * @typedef {object} Field
 * @property {HTMLElement} node
 * @property {HTMLElement} input
 * @property {boolean} wrong whether what is written is no number, so that the browser tells nothing of it
 * @property {() => any} value undefined where it is the default
 * @property {(value: any) => void} set undefined sets the default
 * @property {(reason: string) => void} refuse says what is wrong with it; nothing is wrong where the reason is empty
 */

let made = 0;

/**
 * The field of one parameter.
 * @param {string} name
 * @param {Plain} schema
 * @returns {Field}
 */
export function field(name, schema) {
  const kinds = (schema.anyOf ?? schema.oneOf ?? [schema]).filter((/** @type {Plain} */ kind) => kind.type !== "null");
  const kind = kinds.length === 1 ? { ...schema, ...kinds[0] } : schema;
  const id = `field-${++made}`;
  const entry = entryOf(kind);
  entry.input.setAttribute("id", id);
  entry.input.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
  const error = h("p", { class: "error", id: `${id}-error`, hidden: true });
  const hint = h("p", { class: "hint", id: `${id}-hint` }, [schema.description, range(kind)].filter(Boolean).join("; "));
  const node = h("div", { class: `field ${kind.type ?? ""}` }, h("label", { for: id }, spoken(name)), entry.input, hint, error);
  const set = (/** @type {any} */ value) => entry.write(value === undefined ? schema.default : value);
  set(undefined);
  const refuse = (/** @type {string} */ reason) => {
    tell(error, reason);
    entry.input.setAttribute("aria-invalid", String(reason !== ""));
  };
  entry.input.addEventListener("input", () => refuse(""));
  return {
    node,
    input: entry.input,
    set,
    refuse,
    value: () => changed(entry.read(), schema.default),
    get wrong() {
      return entry.input.validity.badInput;
    },
  };
}

/** What differs from the default; the default itself is not sent. @param {any} value @param {any} usual */
const changed = (value, usual) => (value === undefined || JSON.stringify(value) === JSON.stringify(usual) ? undefined : value);

/** @typedef {{ input: any, read: () => any, write: (value: any) => void }} Entry */

/** @param {Plain} kind @returns {Entry} */
function entryOf(kind) {
  if (Array.isArray(kind.enum)) return choice(kind.enum);
  if (kind.type === "boolean") return tick();
  if (kind.type === "integer" || kind.type === "number") return number(kind);
  if (kind.type === "string") return text(kind);
  return json();
}

/** @param {any[]} values @returns {Entry} */
function choice(values) {
  const input = h("select", {}, ...values.map((value, index) => h("option", { value: index }, spoken(String(value)))));
  return {
    input,
    read: () => values[Number(input.value)],
    write: (value) => (input.value = String(Math.max(0, values.indexOf(value)))),
  };
}

/** @returns {Entry} */
function tick() {
  const input = h("input", { type: "checkbox" });
  return { input, read: () => input.checked, write: (value) => (input.checked = value === true) };
}

/** @param {Plain} kind @returns {Entry} */
function number(kind) {
  const least = kind.minimum ?? kind.exclusiveMinimum;
  const most = kind.maximum ?? kind.exclusiveMaximum;
  const step = kind.multipleOf ?? (kind.type === "integer" ? 1 : "any");
  const input = h("input", { type: "number", min: least, max: most, step, inputmode: kind.type === "integer" ? "numeric" : "decimal" });
  return {
    input,
    read: () => (input.value.trim() === "" ? undefined : Number(input.value)),
    write: (value) => (input.value = value ?? ""),
  };
}

/** @param {Plain} kind @returns {Entry} */
function text(kind) {
  const input = h("input", { type: "text", maxlength: kind.maxLength, autocomplete: "off", spellcheck: "false" });
  return { input, read: () => (input.value === "" ? undefined : input.value), write: (value) => (input.value = value ?? "") };
}

/** What has no form of its own is written as JSON. @returns {Entry} */
function json() {
  const input = h("textarea", { rows: 2, spellcheck: "false", placeholder: "JSON" });
  return {
    input,
    read: () => (input.value.trim() === "" ? undefined : parsed(input.value)),
    write: (value) => (input.value = value === undefined || value === null ? "" : JSON.stringify(value)),
  };
}

/** A text that is no JSON goes to the server as a text: its refusal names the field and what it wants. @param {string} given */
function parsed(given) {
  try {
    return JSON.parse(given);
  } catch {
    return given;
  }
}

/** `2 to 1000`. @param {Plain} kind */
function range(kind) {
  const [above, below] = [kind.exclusiveMinimum, kind.exclusiveMaximum];
  const least = kind.minimum ?? (above === undefined ? undefined : `above ${above}`);
  const most = kind.maximum ?? (below === undefined ? undefined : `below ${below}`);
  if (least !== undefined && most !== undefined) return `${least} to ${most}`;
  if (least !== undefined) return kind.minimum === undefined ? least : `from ${least}`;
  return most === undefined ? "" : `at most ${most}`;
}
