/**
 * The rows that are in sight, out of very many: some thirty are in the document, each at its place.
 *
 * A row belongs to a finding and stays while it is in sight, so that new ones around it take neither its focus nor what
 * is selected in it. The row that has the focus is never taken out, nor moved: the others move around it.
 */
import { mark } from "./dom.js";

/** @typedef {import("./words.js").Plain} Plain */

export const ROW_PX = 40; // as in page.css
const BEYOND = 5;

export class RowWindow {
  /** @type {Map<string, HTMLElement>} the rows in the document, by id */
  #made = new Map();
  /** @type {Plain[]} */
  #rows = [];
  #height = 0;
  /** The row that Tab leads to. */
  #current = "";
  /** The row whose details are or were open. */
  #selected = "";

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} body as high as all rows
   * @param {(found: Plain) => HTMLElement} make
   */
  constructor(scroller, body, make) {
    this.scroller = scroller;
    this.body = body;
    this.make = make;
    new ResizeObserver(() => {
      this.#height = scroller.clientHeight;
      this.draw();
    }).observe(scroller);
    scroller.addEventListener("scroll", () => this.draw(), { passive: true });
  }

  /** @returns {Iterable<[string, HTMLElement]>} */
  get made() {
    return this.#made;
  }

  /** The id of the row that has the focus, or the one that Tab leads to. */
  get current() {
    return this.#current;
  }

  /** How many rows are seen at once. */
  get page() {
    return Math.max(1, Math.floor(this.#height / ROW_PX) - 2);
  }

  /**
   * Other rows: what is looked at stays where it is, by the row that has the focus, or the first in sight. Only who is
   * at the top stays at the top.
   * @param {Plain[]} rows
   * @param {(found: Plain) => number} place of a row among them
   */
  show(rows, place) {
    const top = this.scroller.scrollTop;
    const anchor = this.#anchor(top);
    this.#rows = rows;
    this.body.style.height = `${rows.length * ROW_PX}px`;
    if (anchor) {
      const now = place(anchor.found);
      if (rows[now]?.id === anchor.found.id && now !== anchor.index) this.scroller.scrollTop = top + (now - anchor.index) * ROW_PX;
    }
    this.draw();
  }

  /** @param {number} top */
  #anchor(top) {
    const first = Math.floor(top / ROW_PX);
    const focused = this.#focused();
    const index = focused ? Number(this.#made.get(focused)?.dataset.index) : first;
    const inSight = index >= first && index * ROW_PX < top + this.#height;
    if (focused && inSight) return { index, found: this.#rows[index] };
    return top > 0 && this.#rows[first] ? { index: first, found: this.#rows[first] } : null;
  }

  /** The row that must stay: it has the focus, or gets it back once its details are closed. */
  #focused() {
    if (document.querySelector("dialog[open]")) return this.#selected || undefined;
    const active = document.activeElement;
    return active instanceof HTMLElement && active.parentElement === this.body ? active.dataset.id : undefined;
  }

  /** Puts into the document what is in sight, and takes out what is not. */
  draw() {
    const top = this.scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / ROW_PX) - BEYOND);
    const last = Math.min(this.#rows.length, Math.ceil((top + this.#height) / ROW_PX) + BEYOND);
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(this.#rows[index].id, index);
    const focused = this.#focused();
    if (focused && !wanted.has(focused)) this.#keepFocused(focused, wanted);
    for (const [id, row] of this.#made) {
      if (wanted.has(id)) continue;
      this.#made.delete(id);
      row.remove();
    }
    const shown = [...wanted].sort(([, a], [, b]) => a - b).map(([id, index]) => this.#placed(id, index));
    this.#arrange(shown, focused);
    this.#lead(shown);
    this.onDrawn?.();
  }

  /** Called when other rows are in sight. @type {(() => void) | undefined} */
  onDrawn;

  /** @param {string} id @param {Map<string, number>} wanted */
  #keepFocused(id, wanted) {
    const index = this.#rows.findIndex((row) => row.id === id);
    if (index >= 0) wanted.set(id, index);
  }

  /** @param {string} id @param {number} index */
  #placed(id, index) {
    let row = this.#made.get(id);
    if (!row) {
      row = this.make(this.#rows[index]);
      this.#made.set(id, row);
    }
    if (row.dataset.index !== String(index)) {
      row.dataset.index = String(index);
      row.style.transform = `translateY(${index * ROW_PX}px)`;
      row.setAttribute("aria-rowindex", String(index + 2)); // the head is the first
      row.classList.toggle("odd", index % 2 === 1);
    }
    mark(row, "aria-selected", String(id === this.#selected));
    return row;
  }

  /** The order in the document is the one that is seen. @param {HTMLElement[]} shown @param {string | undefined} focused */
  #arrange(shown, focused) {
    let at = this.body.firstChild;
    for (const row of shown) {
      while (row.dataset.id === focused && at && at !== row) { // what is before it goes, and comes back behind it
        const passed = at;
        at = at.nextSibling;
        passed.remove();
      }
      if (at === row) at = at.nextSibling;
      else this.body.insertBefore(row, at);
    }
  }

  /** Tab leads to one row: the one that had the focus last, while it is here, else the first in sight. @param {HTMLElement[]} shown */
  #lead(shown) {
    const top = this.scroller.scrollTop;
    const lead = this.#made.get(this.#current) ?? shown.find((row) => Number(row.dataset.index) * ROW_PX >= top) ?? shown[0];
    for (const row of shown) mark(row, "tabindex", row === lead ? "0" : "-1");
  }

  /** The focus goes to the row at this index, which is brought into sight. @param {number} index */
  focus(index) {
    const at = Math.max(0, Math.min(this.#rows.length - 1, index));
    if (!this.#rows.length) return;
    const [top, room] = [this.scroller.scrollTop, this.#height - ROW_PX]; // the head covers one row
    if (at * ROW_PX < top) this.scroller.scrollTop = at * ROW_PX;
    else if ((at + 1) * ROW_PX > top + room) this.scroller.scrollTop = (at + 1) * ROW_PX - room;
    this.#current = this.#rows[at].id;
    this.draw();
    this.#made.get(this.#current)?.focus({ preventScroll: true });
  }

  /** The focus has come to a row. @param {string} id */
  came(id) {
    this.#current = id;
    this.#lead([...this.#made.values()]);
  }

  /** @param {string} id */
  select(id) {
    this.#selected = id;
    for (const [other, row] of this.#made) mark(row, "aria-selected", String(other === id));
  }
}
