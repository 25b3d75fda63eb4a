/** What several parts of the page are made of: tables, code that can be copied, texts with code in them. */
import { h } from "../page/dom.js";

/** @typedef {Record<string, any>} Plain JSON as the documents have it */

const COPIED_MS = 2000;

/** A text in which what stands between backticks is code. @param {string | undefined} text */
export function words(text) {
  return (text ?? "").split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));
}

/**
 * A table; wide ones scroll by themselves, also by keys.
 * @param {string} caption
 * @param {string[]} heads
 * @param {any[][]} rows
 */
export function table(caption, heads, rows) {
  return h(
    "div",
    { class: "wide", tabindex: "0", role: "group", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, ...rows.map((cells) => h("tr", {}, ...cells.map((cell) => h("td", {}, ...[cell].flat()))))),
    ),
  );
}

/**
 * Code, and a button that copies it.
 * @param {string} name
 * @param {string} text
 */
export function code(name, text) {
  const button = h("button", { type: "button", "aria-label": `Copy: ${name}` }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
  });
  return h(
    "figure",
    { "data-example": name },
    h("figcaption", {}, name, button),
    h("pre", { tabindex: "0", "aria-label": name }, h("code", {}, text)),
  );
}

/** What a pointer of a document leads to. @param {Plain} document @param {Plain} value @returns {Plain} */
export function resolved(document, value) {
  let found = value;
  while (found.$ref) found = found.$ref.slice(2).split("/").reduce((/** @type {any} */ at, /** @type {string} */ part) => at[part], document);
  return found;
}
