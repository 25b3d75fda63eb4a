/** How far a scan is: as a whole with the time that is left, and strategy by strategy with their notes. */
import { h, mark, write } from "./dom.js";
import { Countdown } from "./eta.js";
import { lacking, outcome, standing, verdict } from "../scanstream/words.js";
import { clock, count, duration, plural } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */
/** @typedef {{ row: HTMLElement, bar: HTMLProgressElement, cells: HTMLElement[] }} Line */

/** So many lines are seen at once. */
const MANY = 12;
/** Of a line's cells the one that says how its strategy is. */
const STATUS = 3;

export class Progress {
  #bar = h("progress", { max: 100, value: 0, "aria-label": "Overall progress" });
  #stage = h("h2", { id: "shown-title" });
  #message = h("p", { class: "message" });
  #numbers = h("p", { class: "numbers" });
  #percent = h("span", { id: "percent" });
  #shards = h("span", { id: "shards" });
  #done = h("span", { id: "strategies-done" });
  #found = h("span", { id: "found" });
  #rank = h("span", { id: "rank" });
  #left = h("span", { id: "eta" });
  #when = h("p", { class: "hint" });
  #advice = h("p", { class: "notice", hidden: true });
  #body = h("tbody");
  /** Very many strategies have a height of their own, so that what was found stays near. */
  #box = h("div", { class: "many", role: "group", "aria-label": "Progress of the strategies" });
  /** @type {Map<string, Line>} */
  #lines = new Map();
  /** @type {Plain | undefined} */
  #state;
  #countdown = new Countdown();

  /** @param {HTMLElement} head @param {HTMLElement} strategies */
  constructor(head, strategies) {
    this.#numbers.append(this.#rank, this.#percent, this.#done, this.#shards, this.#found, this.#left);
    head.append(this.#stage, this.#message, this.#bar, this.#numbers, this.#when, this.#advice);
    const titles = ["Strategy", "Progress", "Found", "Took", "Status"];
    const table = h(
      "table",
      { class: "strategies", "aria-label": "Strategies" },
      h("thead", {}, h("tr", {}, ...titles.map((title) => h("th", { scope: "col" }, title)))),
      this.#body,
    );
    this.#box.append(table);
    strategies.append(this.#box);
  }

  /** Another scan is on show. */
  clear() {
    this.#lines.clear();
    this.#body.replaceChildren();
    mark(this.#box, "tabindex", null);
    this.#state = undefined;
    this.waits(undefined);
  }

  /** Its place in the queue; undefined where it waits in none. @param {number | undefined} rank */
  waits(rank) {
    write(this.#rank, rank === undefined ? "" : `Place ${count(rank)} in the queue${rank === 1 ? ": the next" : ""}`);
  }

  /** It is followed no more, and its end is not known: nothing counts down. @param {string} why */
  lose(why) {
    this.#state = undefined;
    this.waits(undefined);
    write(this.#stage, "Lost");
    write(this.#message, why);
    write(this.#left, "");
    this.#advice.hidden = true;
    for (const { row, cells } of this.#lines.values()) {
      if (["pending", "running"].includes(String(row.dataset.status))) write(cells[STATUS], "not known");
    }
  }

  /** @param {Plain} state the newest */
  show(state) {
    const { progress } = state;
    if (state !== this.#state) this.#countdown.hear(state.estimated_time_remaining_seconds, performance.now());
    this.#state = state;
    write(this.#stage, standing(state));
    write(this.#message, state.message === standing(state) ? "" : state.message);
    if (this.#bar.value !== progress.percentage) this.#bar.value = progress.percentage;
    write(this.#percent, `${progress.percentage} %`);
    const { strategies_completed: done, total_strategies: all } = progress;
    write(this.#done, all > 1 ? `${count(done)} of ${plural(all, "strategy", "strategies")}` : "");
    write(this.#shards, progress.total_shards ? `${count(progress.shards_completed)} of ${plural(progress.total_shards, "shard")}` : "");
    write(this.#found, `${count(progress.opportunities_found_so_far)} found`);
    write(this.#when, moments(state));
    this.#advise(state);
    for (const [id, one] of Object.entries(state.strategies)) this.#line(id, one);
    this.tick();
  }

  /** Time has passed. */
  tick() {
    const going = this.#state?.status === "scanning";
    write(this.#left, going ? this.#countdown.text(performance.now()) : "");
  }

  /** What the outcome means, and what can be done. @param {Plain} state */
  #advise(state) {
    const became = verdict(state);
    const text = advice(state, became);
    write(this.#advice, text);
    mark(this.#advice, "data-kind", became === "failed" ? "error" : became === "partial" ? "warning" : null);
    this.#advice.hidden = text === "";
  }

  /** @param {string} id @param {Plain} one */
  #line(id, one) {
    const line = this.#lines.get(id) ?? this.#made(id);
    const share = one.total_shards ? one.shards_completed / one.total_shards : one.status === "complete" ? 1 : 0;
    if (line.bar.value !== share) line.bar.value = share;
    const [shards, found, took, status, note] = line.cells;
    write(shards, one.total_shards ? `${count(one.shards_completed)} of ${count(one.total_shards)}` : "");
    write(found, count(one.opportunities_found));
    write(took, one.elapsed_ms ? duration(one.elapsed_ms / 1000) : "");
    write(status, outcome(one));
    write(note, [one.error?.detail, one.note].filter(Boolean).join("; "));
    mark(note, "title", one.error?.code ?? null);
    mark(line.row, "data-status", one.status);
  }

  /** @param {string} id @returns {Line} */
  #made(id) {
    const bar = h("progress", { max: 1, value: 0, "aria-label": `Progress of ${id}` });
    const [shards, found, took, status, note] = ["span", "td", "td", "span", "span"].map((tag) => h(tag));
    status.className = "status";
    note.className = "note";
    const row = h(
      "tr",
      {},
      h("th", { scope: "row" }, id),
      h("td", { class: "share" }, bar, shards),
      found,
      took,
      h("td", {}, status, note),
    );
    this.#body.append(row);
    const line = { row, bar, cells: [shards, found, took, status, note] };
    this.#lines.set(id, line);
    if (this.#lines.size > MANY) mark(this.#box, "tabindex", "0"); // who has no pointer scrolls it, too
    return line;
  }
}

/** @param {Plain} state @param {string} became */
function advice(state, became) {
  if (became === "failed") {
    const why = state.error?.detail ?? "No strategy has a result";
    return `${why}. The strategies below say what went wrong with each; “Change” puts this scan's settings into the form.`;
  }
  if (became === "partial") {
    return `Without the results of ${lacking(state).join(", ")}: see below why. What the others found is all here.`;
  }
  if (became === "cancelled") return "The scan was cancelled. What was found until then is kept; “Repeat” starts it anew.";
  return "";
}

/** @param {Plain} state */
function moments({ created_at: created, started_at: started, finished_at: finished, expires_at: expires, market }) {
  const took = started && finished ? `took ${duration((Date.parse(finished) - Date.parse(started)) / 1000)}` : "";
  return [`Market: ${market}${market === "synthetic" ? " (generated)" : ""}`, `asked for at ${clock(created)}`, took, expires && `kept until ${clock(expires)}`].filter(Boolean).join(" · ");
}
