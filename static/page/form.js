/** The form that starts a scan: from what is chosen to a request, and back from a scan's request to what is chosen. */
import { element, h, tell } from "./dom.js";
import { field } from "./fields.js";
import { Strategies } from "./strategies.js";
import { Symbols } from "./symbols.js";
import { codeOf, reason } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */
/** @typedef {import("./fields.js").Field} Field */

/** @type {Record<string, Plain>} the filters of a request, but for those that are lists */
const FILTERS = {
  filter_by_risk_level: { enum: ["any", "low", "medium", "high"], default: "any", description: "What is riskier is left out" },
  min_profit_potential: { type: "number", minimum: 0, description: "US dollars" },
  max_required_capital: { type: "number", minimum: 0, description: "US dollars" },
  capital_usd: { type: "number", exclusiveMinimum: 0, default: 1000, description: "US dollars, on which profits are reckoned" },
  preferred_timeframes: { type: "string", description: "What takes longer than the longest of these is left out: 4h, 1d" },
};
const TITLES = /** @type {Record<string, string>} */ ({
  filter_by_risk_level: "Highest risk", min_profit_potential: "Minimum profit", max_required_capital: "Maximum capital",
  capital_usd: "Capital", preferred_timeframes: "Preferred timeframes",
});
/** What helps where no field is wrong. @type {Record<string, string>} */
const WHAT_TO_DO = {
  unreachable: "Look whether the server runs, then press “Start scan” again: the same settings start no second scan.",
  rate_limited: "Press “Start scan” again in a while.",
  unauthorized: "Sign in where you were given the address of this page, then load it again.",
  too_many_scans: "Wait until one of the scans below has ended, or cancel one; then press “Start scan” again.",
  overloaded: "Press “Start scan” again in a while.",
  restarting: "Press “Start scan” again in a moment.",
  store_unavailable: "Scans that run go on. Press “Start scan” again in a while.",
};
const TIERS = ["large", "mid", "small"];

export class Form {
  /** @type {Map<string, Field>} */
  #filters = new Map();
  /** @type {HTMLElement} */
  #kinds = h("div", { class: "ticks" });
  #tiers = ticks("asset_tiers", TIERS);

  /** @param {HTMLFormElement} form @param {(request: Plain) => void} start */
  constructor(form, start) {
    this.form = form;
    this.error = element("form-error");
    this.symbols = new Symbols(element("symbols-field"));
    this.strategies = new Strategies(element("catalogue"), element("strategies-state"));
    for (const [name, schema] of Object.entries(FILTERS)) this.#filters.set(name, field(TITLES[name], schema));
    element("filter-fields").append(
      h("fieldset", {}, h("legend", {}, "Tiers of the market, by volume"), this.#tiers),
      h("fieldset", {}, h("legend", {}, "Kinds of opportunity"), this.#kinds),
      h("div", { class: "fields" }, ...[...this.#filters.values()].map((one) => one.node)),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const request = this.request();
      if (request) start(request);
    });
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      this.set({});
    });
  }

  /** @param {Plain[]} catalogue */
  offer(catalogue) {
    this.strategies.offer(catalogue);
    const kinds = catalogue.flatMap((entry) => entry.opportunity_types ?? [entry.opportunity_type]);
    this.#kinds.replaceChildren(...ticks("opportunity_type", [...new Set(kinds)].sort()).childNodes);
  }

  /** What is asked for; nothing where the form itself says what is missing. @returns {Plain | undefined} */
  request() {
    this.#clear();
    const symbols = this.symbols.value;
    const { ids, all, parameters } = this.strategies;
    const wrong = [...this.strategies.fields, ...this.#filters.values()].filter((one) => one.wrong);
    for (const one of wrong) one.refuse("Write a number");
    if (wrong.length) return void wrong[0].input.focus();
    if (!ids.length && !all) return void tell(this.error, "Choose at least one strategy");
    /** @type {Plain} */
    const request = {};
    if (symbols.length) request.symbols = symbols;
    if (!all) request.strategy_ids = ids;
    if (parameters) request.parameters = parameters;
    for (const name of ["asset_tiers", "opportunity_type"]) {
      const chosen = this.#ticked(name).filter((tick) => tick.checked).map((tick) => tick.value);
      if (chosen.length) request[name] = chosen;
    }
    for (const [name, one] of this.#filters) if (one.value() !== undefined) request[name] = one.value();
    return request;
  }

  /** As this request has it: that of a scan, to be changed and repeated. @param {Plain} request */
  set(request) {
    this.#clear();
    this.symbols.value = listed(request.symbols) ?? [];
    this.strategies.set(listed(request.strategy_ids), request.parameters);
    for (const name of ["asset_tiers", "opportunity_type"]) {
      const chosen = listed(request[name]) ?? [];
      for (const tick of this.#ticked(name)) tick.checked = chosen.includes(tick.value);
    }
    for (const [name, one] of this.#filters) {
      const value = request[name];
      one.set(Array.isArray(value) ? value.join(", ") : value);
    }
    const filtered = [...this.#filters.values()].some((one) => one.value() !== undefined) || request.asset_tiers || request.opportunity_type;
    if (filtered) element("filters").open = true;
  }

  /** The server has refused: each reason stands beside its field, and the focus goes to the first. @param {any} error */
  refused(error) {
    /** @type {HTMLElement | null} */
    let first = null;
    /** @type {string[]} */
    const rest = [];
    for (const { field: path, reason: why } of error.errors ?? []) first = this.#refuse(path, why, rest) ?? first;
    const whole = `${reason(error)}. ${WHAT_TO_DO[codeOf(error)] ?? "Nothing was started; what is chosen stays as it is."}`;
    tell(this.error, rest.length || !first ? rest.join("; ") || whole : "The server refused this: see the fields that are marked");
    (first ?? element("go")).focus();
    if (!first) this.error.scrollIntoView({ block: "nearest" }); // it stands above the button
  }

  /** @param {string} path @param {string} why @param {string[]} rest @returns {HTMLElement | null} */
  #refuse(path, why, rest) {
    const [name, ...inner] = String(path).replace(/^request\./, "").split(/\.|(?=\[)/);
    if (name === "symbols") {
      this.symbols.refuse(why);
      return this.symbols.input;
    }
    const filter = this.#filters.get(name);
    if (filter) {
      element("filters").open = true;
      filter.refuse(why);
      return filter.input;
    }
    const parameter = name === "parameters" ? this.strategies.refuse(inner.join("."), why) : null;
    if (!parameter) rest.push(`${path}: ${why}`);
    return parameter;
  }

  #clear() {
    tell(this.error, "");
    this.symbols.refuse("");
    this.strategies.refuse("", "");
    for (const one of this.#filters.values()) one.refuse("");
  }

  /** @param {string} name @returns {HTMLInputElement[]} */
  #ticked(name) {
    return [...this.form.querySelectorAll(`input[name="${name}"]`)].map((tick) => /** @type {HTMLInputElement} */ (tick));
  }
}

/** A list, which a request may also write with commas. @param {any} names @returns {string[] | undefined} */
const listed = (names) => (typeof names === "string" ? names.split(",").map((name) => name.trim()).filter(Boolean) : names ?? undefined);

/** @param {string} name @param {string[]} values */
const ticks = (name, values) =>
  h("div", { class: "ticks" }, ...values.map((value) =>
    h("label", { class: "check" }, h("input", { type: "checkbox", name, value }), h("span", {}, value.replaceAll("_", " ")))));
