/** What was found, as a table that is sorted, filtered and walked through, however long it is. */
import { COLUMNS, pricesOf, row } from "./columns.js";
import { h, mark, write } from "./dom.js";
import { Filter } from "./filter.js";
import { by, Order } from "./order.js";
import { sparkline } from "./sparkline.js";
import { RowWindow } from "./window.js";
import { count, plural } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */
/** @typedef {import("./prices.js").Prices} Prices */

const SPARK = { width: 96, height: 28 };
/** Whoever writes into the filter is told what it leaves when they rest for so long. */
const REST_MS = 600;

export class Table {
  #sort = { id: "confidence", descending: true };
  #order = new Order(comparison(this.#sort));
  #head = h("tr", { role: "row", "aria-rowindex": 1 });
  #body = h("tbody", { role: "rowgroup" });
  #table = h(
    "table",
    { role: "grid", "aria-label": "Opportunities", "aria-readonly": "true", "aria-colcount": COLUMNS.length },
    h("thead", { role: "rowgroup" }, this.#head),
    this.#body,
  );
  #scroller = h("div", { class: "scroller" }, this.#table);
  #shown = h("p", { class: "hint", id: "shown-count" });
  #bar = h("div", { class: "bar" });
  #empty = h("p", { class: "empty" });
  #all = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.#clearFilter() }, "Show all");

  /**
   * @param {HTMLElement} root
   * @param {Prices} prices
   * @param {(found: Plain) => void} open
   * @param {(text: string) => void} say to who listens
   */
  constructor(root, prices, open, say) {
    this.prices = prices;
    this.open = open;
    this.say = say;
    this.filter = new Filter(this.#bar, () => this.#filtered());
    this.window = new RowWindow(this.#scroller, this.#body, row);
    this.window.onDrawn = () => this.draw();
    this.#head.append(...COLUMNS.map((column, index) => this.#heading(column, index)));
    root.append(this.#bar, this.#scroller, this.#empty, h("div", { class: "below" }, this.#shown, this.#all));
    this.#listen();
    this.#arrange();
  }

  /** What is shown, in its order. */
  get rows() {
    return this.#order.rows;
  }

  get size() {
    return this.#order.all.length;
  }

  /** The last of what was found. @returns {Plain | undefined} */
  get last() {
    return this.#order.all[this.size - 1];
  }

  /** @param {Plain[]} found what is new */
  add(found) {
    if (!found.length) return;
    this.filter.offer([...new Set(found.map((one) => one.strategy_id))]);
    this.#order.add(found);
    this.#show();
  }

  /** Another scan is on show. */
  clear() {
    this.#order.clear();
    this.filter.forget();
    this.#order.arrange(this.#order.compare, this.filter.accepts);
    this.#show();
  }

  /** What is said while there is nothing to show. @param {string} text */
  explain(text) {
    this.#none = text;
    this.#say();
  }
  #none = "";

  #filtered() {
    this.#arrange();
    clearTimeout(this.#saying);
    this.#saying = setTimeout(() => this.say(this.#shown.textContent ?? ""), REST_MS);
  }
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #saying;

  #arrange() {
    this.#order.arrange(comparison(this.#sort), this.filter.accepts);
    for (const heading of this.#head.children) {
      const sorted = heading.dataset.column === this.#sort.id;
      mark(heading, "aria-sort", sorted ? (this.#sort.descending ? "descending" : "ascending") : null);
    }
    this.#show();
  }

  #show() {
    mark(this.#table, "aria-rowcount", String(this.rows.length + 1));
    this.window.show(this.rows, (found) => this.#order.place(found));
    this.#say();
  }

  #say() {
    const [shown, all] = [this.rows.length, this.size];
    const hidden = all > 0 && shown === 0;
    write(this.#empty, hidden ? `None of the ${plural(all, "opportunity", "opportunities")} is shown by this filter.` : this.#none);
    this.#empty.hidden = shown > 0 || this.#empty.textContent === "";
    this.#scroller.hidden = shown === 0;
    this.#bar.hidden = all === 0;
    write(this.#shown, shown === all ? (all ? plural(all, "opportunity", "opportunities") : "") : `${count(shown)} of ${count(all)} shown`);
    this.#all.hidden = shown === all;
  }

  #clearFilter() {
    this.filter.clear();
    this.#arrange();
    this.window.focus(0);
  }

  /** @param {import("./columns.js").Column} column @param {number} index */
  #heading(column, index) {
    const { id, title, value } = column;
    const content = value ? h("button", { type: "button", onclick: () => this.#press(column) }, title) : title;
    return h("th", { role: "columnheader", scope: "col", "aria-colindex": index + 1, class: id, "data-column": id }, content);
  }

  /** @param {import("./columns.js").Column} column */
  #press({ id, descending = false }) {
    this.#sort = { id, descending: this.#sort.id === id ? !this.#sort.descending : descending };
    this.#arrange();
    this.#scroller.scrollTop = 0;
  }

  #listen() {
    const found = (/** @type {Event} */ event) => {
      const id = /** @type {Element} */ (event.target).closest("tr")?.dataset.id;
      return id && this.rows.find((one) => one.id === id);
    };
    this.#body.addEventListener("focusin", (/** @type {FocusEvent} */ event) => {
      const id = /** @type {HTMLElement} */ (event.target).dataset.id;
      if (id) this.window.came(id);
    });
    this.#body.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      const one = found(event);
      if (one && getSelection()?.isCollapsed !== false) this.#open(one); // else somebody has marked a text in it
    });
    this.#body.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event, found(event)));
  }

  /** @param {KeyboardEvent} event @param {Plain | "" | undefined} one */
  #key(event, one) {
    if (!one || event.altKey || event.metaKey) return;
    const [at, page] = [this.#order.place(one), this.window.page];
    /** @type {Record<string, number>} */
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.rows.length - 1 };
    if (event.key in to) this.window.focus(to[event.key]);
    else if (event.key === "Enter" || event.key === " ") this.#open(one);
    else return;
    event.preventDefault();
  }

  /** @param {Plain} one */
  #open(one) {
    this.window.select(one.id);
    this.open(one);
  }

  /** Other rows are in sight, or prices have come: each row gets its line, and what is missing is asked for. */
  draw() {
    const missing = new Set();
    for (const [, made] of this.window.made) {
      const place = pricesOf(made);
      if (place.hasChildNodes()) continue;
      const symbol = this.rows[Number(made.dataset.index)]?.symbols?.[0];
      const candles = this.prices.held(symbol);
      if (candles?.length) place.append(sparkline(symbol, candles, SPARK));
      else if (!candles && symbol) missing.add(symbol);
    }
    this.prices.look(missing);
  }
}

/** @param {{ id: string, descending: boolean }} sort */
function comparison({ id, descending }) {
  const column = COLUMNS.find((one) => one.id === id);
  return by(column?.value ?? ((found) => found.id), descending);
}
