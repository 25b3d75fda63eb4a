/** The strategies of the catalogue, to be chosen, each with its parameters. */
import { h, write } from "./dom.js";
import { field } from "./fields.js";
import { spoken } from "../scanstream/words.js";
import { count } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */
/** @typedef {import("./fields.js").Field} Field */
/** @typedef {{ id: string, item: HTMLElement, tick: HTMLInputElement, fields: Map<string, Field>, more: HTMLDetailsElement, note: HTMLElement }} Choice */

/** So many are looked through; of more one is searched. */
const MANY = 12;

export class Strategies {
  /** @type {Choice[]} */
  #choices = [];
  #find = h("input", {
    type: "search", "aria-label": "Search the strategies", placeholder: "Search", autocomplete: "off", spellcheck: "false", hidden: true,
    oninput: () => this.#seek(),
    onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && event.preventDefault(), // nothing is started by that
  });
  /** @type {HTMLElement} */
  #choosing;

  /** @param {HTMLElement} list @param {HTMLElement} state */
  constructor(list, state) {
    this.list = list;
    this.state = state;
    const all = h("button", { type: "button", class: "quiet", onclick: () => this.#tick(true) }, "Choose all");
    const none = h("button", { type: "button", class: "quiet", onclick: () => this.#tick(false) }, "Choose none");
    this.#choosing = h("p", { class: "choosing", hidden: true }, all, none);
    list.before(this.#choosing, this.#find);
  }

  /** Of those that are seen. @param {boolean} is */
  #tick(is) {
    for (const { item, tick } of this.#choices) if (!item.hidden) tick.checked = is;
    this.#say();
  }

  /** Only those are seen that have all the words in what they are called. */
  #seek() {
    const words = this.#find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { id, item } of this.#choices) {
      const text = `${id} ${item.querySelector("label")?.textContent}`.toLowerCase();
      item.hidden = !words.every((/** @type {string} */ word) => text.includes(word));
    }
  }

  /** @param {Plain[]} catalogue */
  offer(catalogue) {
    this.list.replaceChildren();
    this.#choices = catalogue.map((entry) => this.#choice(entry));
    this.#choosing.hidden = catalogue.length < 2;
    this.#find.hidden = catalogue.length <= MANY;
    this.#say();
  }

  /** What the market lacks is said beside those that need it. @param {Plain} has `{"quotes": false, …}` */
  lacking(has) {
    this.missing = Object.keys(has).filter((name) => has[name] === false);
    this.#say();
  }
  /** @type {string[]} */
  missing = [];

  get ids() {
    return this.#choices.filter(({ tick }) => tick.checked).map(({ id }) => id);
  }

  /** The fields of those that are chosen. @returns {Field[]} */
  get fields() {
    return this.#choices.filter(({ tick }) => tick.checked).flatMap(({ fields }) => [...fields.values()]);
  }

  get all() {
    return this.#choices.length === this.ids.length;
  }

  /** What differs from the defaults, of those that are chosen. @returns {Plain | undefined} */
  get parameters() {
    /** @type {Plain} */
    const told = {};
    for (const { id, tick, fields } of this.#choices) {
      const given = Object.fromEntries([...fields].map(([name, one]) => [name, one.value()]).filter(([, value]) => value !== undefined));
      if (tick.checked && Object.keys(given).length) told[id] = given;
    }
    return Object.keys(told).length ? told : undefined;
  }

  /** @param {string[] | undefined} ids all, where none are named @param {Plain} [parameters] */
  set(ids, parameters = {}) {
    for (const { id, tick, fields } of this.#choices) {
      tick.checked = !ids || ids.includes(id);
      for (const [name, one] of fields) one.set(parameters[id]?.[name]);
    }
    this.#find.value = "";
    this.#seek();
    this.refuse("", "");
    this.#say();
  }

  /**
   * Says what is wrong beside the parameter that is named; false where there is none of that name.
   * @param {string} path `tsmom.lookback`; nothing clears all
   * @param {string} reason
   */
  refuse(path, reason) {
    const [id, name] = path.split(/[.[]/); // also of what stands within: `tsmom.windows[1]`
    for (const choice of this.#choices) {
      const one = choice.fields.get(name);
      if (!path) for (const other of choice.fields.values()) other.refuse("");
      if (choice.id !== id || !one) continue;
      choice.item.hidden = false;
      choice.more.open = true;
      one.refuse(reason);
      return one.input;
    }
    return null;
  }

  /** @param {Plain} entry @returns {Choice} */
  #choice({ id, name, opportunity_type, description, source, parameters }) {
    const { properties = {}, $defs: definitions, required = [] } = parameters ?? {};
    const fields = new Map(Object.entries(properties).map(([key, schema]) => [key, field(key, /** @type {Plain} */ (schema), { definitions, required: required.includes(key) })]));
    const tick = h("input", { type: "checkbox", name: "strategy", value: id, ".checked": true, onchange: () => this.#say() });
    const note = h("span", { class: "hint" });
    const more = h(
      "details",
      {},
      h("summary", { "aria-label": `Parameters of ${name}` }, h("span", {}, "Parameters"), note),
      h("p", { class: "hint" }, description),
      h("div", { class: "fields" }, ...[...fields.values()].map((one) => one.node)),
      h("p", { class: "hint" }, source),
    );
    more.addEventListener("input", () => this.#say());
    const label = h("label", { class: "check", title: description }, tick, h("span", {}, h("bdi", {}, name), h("small", {}, spoken(opportunity_type))));
    const item = h("li", {}, label, more);
    this.list.append(item);
    return { id, item, tick, fields, more, note };
  }

  #say() {
    for (const { fields, note, more } of this.#choices) {
      const given = [...fields].filter(([, one]) => one.value() !== undefined).map(([name, one]) => `${name} ${JSON.stringify(one.value())}`);
      write(note, given.length ? given.join(", ") : "");
      more.hidden = !fields.size;
    }
    const lacks = this.missing.length ? ` This market has no ${this.missing.join(" and no ")}; who needs that says so.` : "";
    const chosen = this.all ? "All are" : `${count(this.ids.length)} of ${count(this.#choices.length)} are`;
    write(this.state, this.#choices.length ? `${chosen} chosen.${lacks}` : "This server has no strategies. Install some where it runs, and start it again.");
  }
}
