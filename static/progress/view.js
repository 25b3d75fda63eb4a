/** What one element shows: nodes that are made once and changed in place, so that focus and selection stay. */

import { count, line, outcome, remaining, remark, standing } from "./words.js";

/** @typedef {import("../scanstream/errors.js").ScanError} ScanError */
/** @typedef {import("../scanstream/line.js").Connection} Connection */
/** @typedef {import("../scanstream/patch.js").Plain} Plain */
/**
 * @typedef {object} Shown
 * @property {Plain} state
 * @property {boolean} named whether there is a scan at all
 * @property {Connection | null} connection
 * @property {boolean} cancels whether it may be cancelled from here
 */

/** Between two seconds of what counts down. */
const TICK_MS = 1000;
/** Percent between two words to a screen reader. */
const SPOKEN_STEP = 25;

export class View {
  #host;
  #parts;
  /** @type {Map<string, { row: HTMLElement, outcome: HTMLElement }>} */
  #strategies = new Map();
  /** @type {Shown} */
  #shown = { state: {}, named: false, connection: null, cancels: true };
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  /** What the server has estimated, and when. @type {{ state: Plain, at: number }} */
  #estimated = { state: {}, at: 0 };
  #spoken = "";
  /** Whether the scan cannot be followed. */
  #refused = false;

  /** @param {ShadowRoot} root @param {() => void} cancel */
  constructor(root, cancel) {
    this.#host = root.host;
    this.#parts = made();
    const { base, cancel: button } = this.#parts;
    button.addEventListener("click", () => {
      button.disabled = true;
      this.#parts.refusal.hidden = true;
      cancel();
    });
    root.append(base);
  }

  /** @param {Shown} shown */
  show(shown) {
    if (shown.state !== this.#estimated.state) this.#estimated = { state: shown.state, at: performance.now() };
    this.#shown = shown;
    const { state, connection, named } = shown;
    const over = Boolean(state.status) && state.status !== "scanning";
    const { bar, cancel, ...texts } = this.#parts;
    reflect(this.#host, "status", state.status);
    reflect(this.#host, "connection", over || this.#refused ? undefined : connection?.state);
    bar.value = state.progress?.percentage ?? 0;
    const known = named && !(this.#refused && !state.status);
    bar.hidden = !known;
    tell(texts.percentage, known ? `${bar.value} %` : "");
    tell(texts.standing, this.#refused ? "Not followed" : named ? standing(state) : "No scan: name one with scan-id");
    tell(texts.count, state.status ? count(state) : "");
    tell(texts.remark, remark(state));
    cancel.hidden = !shown.cancels || !state.status || over || this.#refused;
    cancel.disabled ||= state.phase === "cancelling";
    this.#tellStrategies(state.strategies ?? {});
    this.#tick();
    this.#speak(state, over);
    if (over || !known) this.rest();
    else this.#ticking ??= setInterval(() => this.#tick(), TICK_MS);
  }

  /** The scan cannot be followed. @param {ScanError} error */
  refuse(error) {
    this.#refused = true;
    this.#refuse(error.detail);
  }

  /** The scan was not cancelled. @param {ScanError} error */
  regret(error) {
    this.#refuse(`It was not cancelled: ${error.detail}`);
    this.#parts.cancel.disabled = false;
  }

  /** Nothing counts down any more. */
  rest() {
    clearInterval(this.#ticking);
    this.#ticking = undefined;
  }

  /** Another scan, or the same anew. */
  begin() {
    this.#refused = false;
    this.#parts.cancel.disabled = false;
    this.#parts.refusal.hidden = true;
    this.#parts.strategies.replaceChildren();
    this.#strategies.clear();
    this.#spoken = "";
  }

  /** @param {string} detail */
  #refuse(detail) {
    this.#parts.refusal.hidden = false;
    tell(this.#parts.refusal, detail);
  }

  /** What counts down. */
  #tick() {
    const { state, connection } = this.#shown;
    const over = Boolean(state.status) && state.status !== "scanning";
    const { estimated_time_remaining_seconds: estimate } = state;
    const passed = (performance.now() - this.#estimated.at) / 1000;
    tell(this.#parts.remaining, remaining(over || estimate === undefined ? undefined : Math.max(0, estimate - passed)));
    const lineless = over || this.#refused || !connection;
    tell(this.#parts.line, lineless ? "" : line(connection, Date.now()));
  }

  /** @param {Record<string, Plain>} strategies */
  #tellStrategies(strategies) {
    for (const [id, strategy] of Object.entries(strategies)) {
      let known = this.#strategies.get(id);
      if (!known) {
        const name = node("span", "name");
        const told = node("span", "outcome");
        const row = node("li", "strategy");
        name.textContent = id;
        row.append(name, told);
        this.#parts.strategies.append(row);
        this.#strategies.set(id, (known = { row, outcome: told }));
      }
      known.row.dataset.status = strategy.status;
      tell(known.outcome, outcome(strategy));
    }
  }

  /** To a screen reader: each phase, and about each quarter. @param {Plain} state @param {boolean} over */
  #speak(state, over) {
    const percentage = state.progress?.percentage ?? 0;
    const quarter = over ? 0 : percentage - (percentage % SPOKEN_STEP);
    const spoken = state.status ? `${standing(state)}${quarter ? `, ${quarter} %` : ""}` : "";
    if (spoken === this.#spoken) return;
    this.#spoken = spoken;
    tell(this.#parts.spoken, over ? `${spoken}, ${count(state)}` : spoken);
  }
}

/** The nodes of one element, by what `::part` calls them. */
function made() {
  const parts = {
    base: node("div", "base"),
    head: node("div", "head"),
    standing: node("span", "standing"),
    percentage: node("span", "percentage"),
    remaining: node("span", "remaining"),
    cancel: node("button", "cancel"),
    bar: node("progress", "bar"),
    refusal: node("p", "refusal"),
    strategies: node("ul", "strategies"),
    foot: node("div", "foot"),
    count: node("span", "count"),
    line: node("span", "line"),
    remark: node("p", "remark"),
    spoken: node("p", "spoken"),
  };
  parts.base.role = "group";
  parts.base.ariaLabel = "Scan";
  parts.bar.max = 100;
  parts.bar.ariaLabel = "Progress of the scan";
  parts.cancel.type = "button";
  parts.cancel.textContent = "Cancel";
  parts.cancel.hidden = true;
  parts.refusal.role = "alert";
  parts.refusal.hidden = true;
  parts.spoken.role = "status";
  parts.head.append(parts.standing, parts.percentage, parts.remaining, parts.cancel);
  parts.foot.append(parts.count, parts.line);
  const { base, head, bar, refusal, strategies, foot, remark: said, spoken } = parts;
  base.append(head, bar, refusal, strategies, foot, said, spoken);
  return parts;
}

/** @template {keyof HTMLElementTagNameMap} Name @param {Name} name @param {string} part @returns {HTMLElementTagNameMap[Name]} */
function node(name, part) {
  const element = document.createElement(name);
  element.part.add(part);
  return element;
}

/** @param {HTMLElement} element @param {string} text */
function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** For selectors of the page: `scan-progress[status="failed"]`. @param {Element} host @param {string} name @param {string | undefined} value */
function reflect(host, name, value) {
  if (value === undefined) host.removeAttribute(name);
  else if (host.getAttribute(name) !== value) host.setAttribute(name, value);
}
