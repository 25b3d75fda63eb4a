/** Fields of a form from a JSON Schema, as the catalogue has one for each strategy's parameters. */
import { h, tell } from "./dom.js";
import { spoken } from "../scanstream/words.js";
import { entryOf } from "./entries.js";

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
 * @param {Record<string, Plain>} [definitions] what the schema may refer to, as its document's `$defs`
 * @returns {Field}
 */
export function field(name, schema, definitions = {}) {
  const kind = kindOf(schema, definitions);
  const id = `field-${++made}`;
  const entry = entryOf(kind);
  const { input } = entry;
  input.setAttribute("id", id);
  input.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
  if (entry.group) input.setAttribute("aria-labelledby", `${id}-name`);
  const error = h("p", { class: "error", id: `${id}-error`, hidden: true });
  const hint = h("p", { class: "hint", id: `${id}-hint` }, [schema.description, range(kind)].filter(Boolean).join("; "));
  const title = h(entry.group ? "span" : "label", { id: `${id}-name`, class: "name", for: entry.group ? undefined : id }, spoken(name));
  const node = h("div", { class: `field ${kind.type ?? ""}` }, title, input, hint, error);
  const set = (/** @type {any} */ value) => entry.write(value === undefined ? schema.default : value);
  set(undefined);
  const refuse = (/** @type {string} */ reason) => {
    tell(error, reason);
    if (entry.group) node.toggleAttribute("data-wrong", reason !== "");
    else input.setAttribute("aria-invalid", String(reason !== ""));
  };
  input.addEventListener("input", () => refuse(""));
  return {
    node,
    input,
    set,
    refuse,
    value: () => changed(entry.read(), schema.default),
    get wrong() {
      return input.validity?.badInput ?? false;
    },
  };
}

/** What differs from the default; the default itself is not sent, nor is a list that is as empty as none. @param {any} value @param {any} usual */
function changed(value, usual) {
  const none = Array.isArray(value) && !value.length && (usual === undefined || usual === null);
  return value === undefined || none || JSON.stringify(value) === JSON.stringify(usual) ? undefined : value;
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
  const kinds = (schema.anyOf ?? schema.oneOf ?? [schema]).map(whole).filter((/** @type {Plain} */ kind) => kind.type !== "null");
  const kind = kinds.length === 1 ? { ...schema, ...kinds[0] } : schema;
  return kind.items ? { ...kind, items: whole(kind.items) } : kind;
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
