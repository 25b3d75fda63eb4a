/** Fields of a form from a JSON Schema, as the catalogue has one for each strategy's parameters. */
import { h, tell } from "./dom.js";
import { spoken } from "../scanstream/words.js";
import { entryOf, same } from "./entries.js";

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
 * The field of one parameter. What nobody touches stays what it was set to, also where no form could say it.
 * @param {string} name
 * @param {Plain} schema
 * @param {{ definitions?: Record<string, Plain>, required?: boolean }} [around] what the schema may refer to, as its
 *   document's `$defs`; and whether a value must be given
 * @returns {Field}
 */
export function field(name, schema, { definitions = {}, required = false } = {}) {
  const kind = kindOf(schema, definitions);
  const { default: usual } = schema;
  const id = `field-${++made}`;
  const entry = entryOf(kind, { usual, empty: (usual ?? null) === null && !required });
  const { input } = entry;
  input.setAttribute("id", id);
  input.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
  if (entry.group) input.setAttribute("aria-labelledby", `${id}-name`);
  const error = h("p", { class: "error", id: `${id}-error`, hidden: true });
  const hint = h("p", { class: "hint", id: `${id}-hint` }, [schema.description, range(kind)].filter(Boolean).join("; "));
  const title = h(entry.group ? "span" : "label", { id: `${id}-name`, class: "name", for: entry.group ? undefined : id }, spoken(name));
  const node = h("div", { class: `field ${input.type === "checkbox" ? "boolean" : ""}` }, title, input, hint, error);
  /** @type {{ value: any } | null} */
  let untouched = null;
  const set = (/** @type {any} */ value) => {
    untouched = { value };
    entry.write(value === undefined ? usual : value);
  };
  set(undefined);
  const refuse = (/** @type {string} */ reason) => {
    tell(error, reason);
    if (entry.group) node.toggleAttribute("data-wrong", reason !== "");
    else input.setAttribute("aria-invalid", String(reason !== ""));
  };
  input.addEventListener("input", () => {
    untouched = null;
    refuse("");
  });
  return {
    node,
    input,
    set,
    refuse,
    value: () => changed(untouched ? untouched.value : entry.read(), usual),
    get wrong() {
      return input.validity?.badInput ?? false;
    },
  };
}

/** What differs from the default; the default itself is not sent, nor is a list that is as empty as none. @param {any} value @param {any} usual */
function changed(value, usual) {
  const none = Array.isArray(value) && !value.length && (usual === undefined || usual === null);
  return value === undefined || none || same(value, usual) ? undefined : value;
}

/**
 * One kind of value: with its references resolved, and without the null that stands for no value.
 * @param {Plain} schema
 * @param {Record<string, Plain>} definitions
 * @returns {Plain}
 */
function kindOf(schema, definitions) {
  const whole = (/** @type {Plain} */ one) => {
    const name = /^#\/\$defs\/(.+)$/.exec(one.$ref ?? "")?.[1];
    return name ? { ...definitions[name], ...one } : one;
  };
  const kinds = (schema.anyOf ?? schema.oneOf ?? [schema]).map(whole);
  const there = kinds.filter((/** @type {Plain} */ one) => one.type !== "null");
  const kind = there.length === 1 ? { ...schema, ...there[0] } : { ...schema };
  const types = [kind.type].flat().filter((type) => type !== "null");
  kind.type = types.length === 1 ? types[0] : undefined;
  if ("const" in kind) kind.enum = [kind.const];
  kind.enum = kind.enum?.filter((/** @type {any} */ value) => value !== null);
  if (kind.items) kind.items = whole(kind.items);
  return kind;
}

/** What it takes: `2 to 1000`, `at most 20 characters`. @param {Plain} kind */
function range(kind) {
  const { minLength, maxLength, minItems, maxItems, pattern, multipleOf } = kind;
  const told = [
    between(kind.minimum, kind.maximum, kind.exclusiveMinimum, kind.exclusiveMaximum),
    multipleOf !== undefined && `a multiple of ${multipleOf}`,
    several(between(minLength, maxLength), "character"),
    several(between(minItems, maxItems), "value"),
    pattern !== undefined && `in the form ${pattern}`,
  ];
  return told.filter(Boolean).join("; ");
}

/** @param {string} many @param {string} of */
const several = (many, of) => many && `${many} ${many.endsWith(" 1") ? of : `${of}s`}`;

/** @param {number} [least] @param {number} [most] @param {number} [above] @param {number} [below] */
function between(least, most, above, below) {
  const from = least ?? (above === undefined ? undefined : `above ${above}`);
  const to = most ?? (below === undefined ? undefined : `below ${below}`);
  if (from !== undefined && to !== undefined) return `${from} to ${to}`;
  if (from !== undefined) return least === undefined ? String(from) : `from ${from}`;
  if (to !== undefined) return most === undefined ? String(to) : `at most ${to}`;
  return "";
}
