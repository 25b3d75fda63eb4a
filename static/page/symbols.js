/** Symbols, completed from the market's: chosen ones are pieces that can be taken away (WAI-ARIA's combobox). */
import { h, mark, tell, write } from "./dom.js";
import { count } from "./words.js";

const MOST_OFFERED = 50;
const MANY = 4;

export class Symbols {
  /** @type {string[]} */
  #chosen = [];
  /** @type {string[]} */
  #market = [];
  /** @type {string[]} */
  #offered = [];
  #active = -1;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.input = h("input", {
      id: "symbols", type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", autocapitalize: "characters",
      "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "symbols-list",
      "aria-describedby": "symbols-hint symbols-error", placeholder: "All of the market",
    });
    this.list = h("ul", { id: "symbols-list", role: "listbox", "aria-label": "Symbols of the market", hidden: true });
    this.pieces = h("ul", { class: "pieces", "aria-label": "Chosen symbols" });
    this.hint = h("p", { class: "hint", id: "symbols-hint" });
    this.error = h("p", { class: "error", id: "symbols-error", hidden: true });
    this.none = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.#drop(this.#chosen) }, "Remove all symbols");
    const box = h("div", { class: "combobox" }, this.input, this.list);
    root.append(h("label", { for: "symbols" }, "Symbols"), this.pieces, this.none, box, this.hint, this.error);
    this.#listen();
    this.#show();
  }

  /** What can be chosen. @param {string[]} market */
  offer(market) {
    if (market.length === this.#market.length && market.every((symbol, index) => symbol === this.#market[index])) return;
    this.#market = market;
    this.#show();
  }

  /** Those that are chosen, and what is written without having been. @returns {string[]} */
  get value() {
    this.#take(this.input.value);
    return [...this.#chosen];
  }

  /** @param {string[]} symbols */
  set value(symbols) {
    this.#chosen = [...new Set(symbols)];
    this.input.value = "";
    this.refuse("");
    this.#show();
  }

  /** Says what is wrong. @param {string} reason */
  refuse(reason) {
    tell(this.error, reason);
    mark(this.input, "aria-invalid", reason ? "true" : null);
  }

  #listen() {
    this.input.addEventListener("input", () => {
      this.refuse("");
      if (/[,;\s]/.test(this.input.value) && !this.#begins(this.input.value)) this.#take(this.input.value);
      this.#suggest();
    });
    this.input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.input.addEventListener("click", () => this.list.hidden && this.#suggest(true));
    this.input.addEventListener("blur", () => this.#close());
    this.list.addEventListener("pointerdown", (/** @type {Event} */ event) => {
      event.preventDefault(); // the focus stays in the field
      const option = /** @type {HTMLElement} */ (event.target).closest("li");
      if (option?.dataset.symbol) this.#take(option.dataset.symbol);
    });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const open = !this.list.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!open) this.#suggest(true);
      else this.#move(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && (this.#active >= 0 || this.input.value.trim())) {
      this.#take(this.#active >= 0 ? this.#offered[this.#active] : this.input.value);
    } else if (event.key === "Escape" && open) {
      this.#close();
    } else if (event.key === "Backspace" && !this.input.value && this.#chosen.length) {
      this.value = this.#chosen.slice(0, -1);
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Whether a symbol of the market begins like this. @param {string} text */
  #begins(text) {
    const written = text.trimStart().toUpperCase();
    return this.#market.some((symbol) => symbol.toUpperCase().startsWith(written));
  }

  /** Chooses what is written; a symbol in other letters is the market's. @param {string} text */
  #take(text) {
    const known = new Map(this.#market.map((symbol) => [symbol.toUpperCase(), symbol]));
    const whole = known.get(text.trim().toUpperCase()); // which may have a space or a comma in its name
    const named = whole ? [whole] : text.split(/[,;\s]+/).filter(Boolean).map((name) => known.get(name.toUpperCase()) ?? name);
    if (named.length) this.value = [...this.#chosen, ...named];
    this.#close();
  }

  /** @param {boolean} [all] also where nothing is written yet */
  #suggest(all = false) {
    const written = this.input.value.trim().toUpperCase();
    const chosen = new Set(this.#chosen);
    const left = this.#market.filter((symbol) => !chosen.has(symbol) && symbol.toUpperCase().includes(written));
    left.sort((a, b) => Number(b.toUpperCase().startsWith(written)) - Number(a.toUpperCase().startsWith(written)));
    this.#offered = written || all ? left.slice(0, MOST_OFFERED) : [];
    this.list.replaceChildren(
      ...this.#offered.map((symbol, index) => h("li", { id: `symbols-option-${index}`, role: "option", "aria-selected": "false", "data-symbol": symbol }, symbol)),
    );
    this.list.hidden = !this.#offered.length;
    mark(this.input, "aria-expanded", String(!this.list.hidden));
    this.#active = -1;
    this.#move(0);
    this.#explain(left.length);
  }

  /** How many fit what is written. @param {number} fit */
  #explain(fit) {
    const written = this.input.value.trim();
    if (!fit && written && this.#market.length) write(this.hint, `No symbol of this market has “${written}” in its name.`);
    else if (fit > this.#offered.length && this.#offered.length) write(this.hint, `${count(this.#offered.length)} of ${count(fit)} that fit; write on to narrow them down.`);
    else this.#rest();
  }

  /** The focus stays by the field. @param {string[]} symbols not to be chosen any more */
  #drop(symbols) {
    const dropped = new Set(symbols);
    this.value = this.#chosen.filter((one) => !dropped.has(one));
    this.input.focus();
  }

  /** @param {number} by */
  #move(by) {
    const options = this.#offered.length;
    if (by && options) this.#active = this.#active < 0 && by < 0 ? options - 1 : (this.#active + by + options) % options;
    mark(this.input, "aria-activedescendant", this.#active < 0 ? null : `symbols-option-${this.#active}`);
    [...this.list.children].forEach((option, index) => mark(option, "aria-selected", String(index === this.#active)));
    this.list.children[this.#active]?.scrollIntoView({ block: "nearest" });
  }

  #close() {
    this.#offered = [];
    this.#active = -1;
    this.list.hidden = true;
    mark(this.input, "aria-expanded", "false");
    mark(this.input, "aria-activedescendant", null);
    this.#rest();
  }

  #show() {
    const known = new Set(this.#market);
    this.pieces.replaceChildren(
      ...this.#chosen.map((symbol) => {
        const strange = this.#market.length > 0 && !known.has(symbol);
        return h(
          "li",
          { "data-strange": strange, title: strange ? "This market has no such symbol" : undefined },
          symbol,
          h("button", { type: "button", "aria-label": `Remove ${symbol}`, onclick: () => this.#drop([symbol]) }, "×"),
        );
      }),
    );
    this.pieces.hidden = !this.#chosen.length;
    this.none.hidden = this.#chosen.length < MANY;
    this.#rest();
  }

  #rest() {
    const size = this.#market.length;
    write(this.hint, size ? `Leave it empty to scan all ${count(size)}; write to choose some.` : "Leave it empty to scan all.");
  }
}
