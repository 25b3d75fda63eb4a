/** Makes elements, and writes only what has changed: what is written anew is read aloud anew, and loses its selection. */

/** @typedef {string | number | Node | null | undefined | false} Content */

/**
 * An element. Attributes: `true` is written without a value, `false`, null and undefined not at all; `on…` listens,
 * and `.name` sets a property.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...Content} content
 * @returns {any}
 */
export function h(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.startsWith(".")) /** @type {any} */ (made)[name.slice(1)] = value;
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...content.filter((piece) => piece || piece === 0).map((piece) => (piece instanceof Node ? piece : String(piece))));
  return made;
}

/**
 * The element with this id. The page has it: index.html is read beside this.
 * @param {string} id
 * @returns {any}
 */
export const element = (id) => document.getElementById(id);

/**
 * Its text, where that has changed.
 * @param {Element} node
 * @param {string} text
 */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * An attribute, where that has changed; null removes it.
 * @param {Element} node
 * @param {string} name
 * @param {string | null} value
 */
export function mark(node, name, value) {
  if (node.getAttribute(name) === value) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}

/**
 * A button that does nothing just now. It keeps the focus, which `disabled` would take from it.
 * @param {Element} button
 * @param {boolean} is
 */
export const still = (button, is) => mark(button, "aria-disabled", is ? "true" : null);

/** @param {Element} button */
export const isStill = (button) => button.getAttribute("aria-disabled") === "true";

/**
 * Shows an element with this text, or hides it where there is none.
 * @param {HTMLElement} node
 * @param {string} text
 * @param {string} [kind] `error`, `warning` or nothing
 */
export function tell(node, text, kind) {
  write(node, text);
  if (kind !== undefined) mark(node, "data-kind", kind);
  node.hidden = text === "";
}

const UNSEEN_MS = 1000;

/**
 * Calls at most once for each frame that is painted, or once a second where none is, as the page is hidden: its title
 * goes on.
 * @param {() => void} draw
 * @returns {() => void}
 */
export function painted(draw) {
  let [frame, timer] = [0, 0];
  const now = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    timer = 0;
    draw();
  };
  return () => {
    if (timer) return;
    frame = requestAnimationFrame(now);
    timer = Number(setTimeout(now, UNSEEN_MS));
  };
}
