/** What people write a value into, by its JSON Schema: a choice, a tick, a number, a text, a list, or JSON. */
import { h } from "./dom.js";
import { spoken } from "../scanstream/words.js";

/** @typedef {import("./words.js").Plain} Plain */
/**
 * @typedef {object} Entry
 * @property {any} input what has the focus and is described; of several the group
 * @property {() => any} read undefined where nothing is written
 * @property {(value: any) => void} write
 * @property {boolean} [group] whether the input is a group of several, which a label cannot name
 */

/**
 * @param {Plain} kind without references, and without null
 * @param {{ empty?: boolean, usual?: any }} [around] whether it may be without a value, and what it has where nobody writes one
 * @returns {Entry}
 */
export function entryOf(kind, { empty = false, usual } = {}) {
  if (Array.isArray(kind.enum)) return choice(kind.enum, empty);
  if (kind.type === "boolean") return empty ? choice([true, false], empty) : tick();
  if (kind.type === "integer" || kind.type === "number") return number(kind, usual);
  if (kind.type === "string") return text(kind, empty || !usual);
  if (kind.type === "array" && Array.isArray(kind.items?.enum)) return several(kind.items.enum);
  if (kind.type === "array" && ["string", "integer", "number"].includes(kind.items?.type)) return list(kind.items.type);
  return json();
}

/** @param {any[]} values @param {boolean} empty whether it may be none of them @returns {Entry} */
function choice(values, empty) {
  const offered = empty ? [undefined, ...values] : values;
  const options = offered.map((value, index) => h("option", { value: index }, value === undefined ? "–" : named(value)));
  const input = h("select", {}, ...options);
  return {
    input,
    read: () => offered[Number(input.value)],
    write: (value) => (input.value = String(Math.max(0, offered.findIndex((one) => same(one, value ?? undefined))))),
  };
}

/** @param {any} value */
const named = (value) => spoken(typeof value === "string" ? value : JSON.stringify(value));

/** Whether they are the same JSON. @param {any} one @param {any} other */
export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Some of these. @param {any[]} values @returns {Entry} */
function several(values) {
  const ticks = values.map(() => h("input", { type: "checkbox" }));
  const labels = values.map((value, index) => h("label", { class: "check" }, ticks[index], h("span", {}, named(value))));
  const input = h("div", { role: "group", class: "ticks", tabindex: "-1" }, ...labels);
  return {
    input,
    group: true,
    read: () => values.filter((_, index) => ticks[index].checked),
    write: (value) => ticks.forEach((one, index) => (one.checked = Array.isArray(value) && value.includes(values[index]))),
  };
}

/** @returns {Entry} */
function tick() {
  const input = h("input", { type: "checkbox" });
  return { input, read: () => input.checked, write: (value) => (input.checked = value === true) };
}

/** Left empty it is as by default, which is seen then. @param {Plain} kind @param {any} usual @returns {Entry} */
function number(kind, usual) {
  const least = kind.minimum ?? kind.exclusiveMinimum;
  const most = kind.maximum ?? kind.exclusiveMaximum;
  const step = kind.multipleOf ?? (kind.type === "integer" ? 1 : "any");
  const inputmode = kind.type === "integer" ? "numeric" : "decimal";
  const input = h("input", { type: "number", min: least, max: most, step, inputmode, placeholder: usual });
  return {
    input,
    read: () => (input.value.trim() === "" ? undefined : Number(input.value)),
    write: (value) => (input.value = value ?? ""),
  };
}

/** @param {Plain} kind @param {boolean} empty whether without a letter it is no text @returns {Entry} */
function text(kind, empty) {
  const input = h("input", { type: "text", maxlength: kind.maxLength, autocomplete: "off", spellcheck: "false" });
  return { input, read: () => (input.value === "" && empty ? undefined : input.value), write: (value) => (input.value = value ?? "") };
}

/** With commas between. What is no number goes to the server as a text: its refusal names the field. @param {string} type @returns {Entry} */
function list(type) {
  const input = h("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "one, another" });
  const piece = (/** @type {string} */ written) => (type === "string" || !Number.isFinite(Number(written)) ? written : Number(written));
  const read = () => input.value.split(",").map((/** @type {string} */ one) => one.trim()).filter(Boolean).map(piece);
  return { input, read, write: (value) => (input.value = Array.isArray(value) ? value.join(", ") : "") };
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
