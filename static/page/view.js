/** The scan on show: how far it is, what it has found, and what can be done with it. */
import { About } from "./about.js";
import { element, h, isStill, mark, painted, still, tell } from "./dom.js";
import { Details } from "./details.js";
import { csv, json, save } from "./exports.js";
import { Life } from "./life.js";
import { Prices } from "./prices.js";
import { Progress } from "./progress.js";
import { Queue } from "./queue.js";
import { link } from "./router.js";
import { Table } from "./table.js";
import { verdict } from "../scanstream/words.js";
import { clock, count, reason } from "./words.js";

/** How long a link opens the scan for somebody who has no key. */
const SHARED_SECONDS = 86_400;

/** @typedef {import("./words.js").Plain} Plain */
/** @typedef {import("./announce.js").Announcer} Announcer */
/** @typedef {{ announcer: Announcer, home: URL, access: import("./access.js").Access, repeat: (request: Plain) => void, change: (request: Plain) => void, news: (state: Plain) => void }} Given */

export class View {
  /** @type {any} */
  #scan = null;
  #cancelling = false;
  #head = h("div", { class: "head" });
  #link = h("input", { readonly: true, "aria-label": "Link to this scan" });
  #shared = h("p", { class: "share", hidden: true });
  #sharedText = h("span", { class: "hint" });
  #trouble = h("p", { class: "notice", "data-kind": "error", role: "alert", hidden: true });
  #cancel = h("button", { type: "button", class: "danger", onclick: () => this.#askCancel() }, "Cancel");
  #repeat = h("button", { type: "button", onclick: () => this.given.repeat(this.#scan.state.filters) }, "Repeat");
  #change = h("button", { type: "button", onclick: () => this.given.change(this.#scan.state.filters) }, "Change");
  #share = h("button", { type: "button", onclick: () => this.#showLink() }, "Share");
  #csv = h("button", { type: "button", "aria-label": "Export CSV", onclick: () => this.#export("csv") }, "CSV");
  #json = h("button", { type: "button", "aria-label": "Export JSON", onclick: () => this.#export("json") }, "JSON");

  /** @param {HTMLElement} root @param {Given} given */
  constructor(root, given) {
    this.root = root;
    this.given = given;
    const strategies = h("details", { open: true }, h("summary", {}, h("h3", {}, "Strategies")));
    const found = h("section", { "aria-labelledby": "found-title" }, h("h3", { id: "found-title" }, "Opportunities"));
    const exports = h("span", { class: "exports", role: "group", "aria-label": "Export what is shown" }, "Export", this.#csv, this.#json);
    this.#shared.append(this.#link, this.#sharedText);
    const own = h("span", { class: "actions own" }, this.#cancel, this.#repeat, this.#change, this.#share);
    const actions = h("p", { class: "actions" }, own, exports);
    const about = h("details", { class: "about" }, h("summary", {}, h("h3", {}, "About this scan")));
    const life = h("details", { class: "life" }, h("summary", {}, h("h3", {}, "What happened, and when")));
    root.append(this.#head, this.#trouble, actions, this.#shared, strategies, found, about, life);
    this.progress = new Progress(this.#head, strategies);
    this.about = new About(about, given.home, () => given.access.token() !== null);
    this.life = new Life(life, given.home, given.access.ask);
    this.queue = new Queue(given.home, given.access.ask, (rank) => this.progress.waits(rank));
    this.prices = new Prices(new URL("opportunities/market/candles", given.home), given.access.ask, () => this.table.draw());
    const details = new Details(element("details"), this.prices);
    this.table = new Table(found, this.prices, (one) => details.open(one), (text) => given.announcer.say(text));
  }

  /** The state of the scan on show. @returns {Plain | null} */
  get state() {
    return this.#scan?.state.strategies ? this.#scan.state : null; // what the answer to a start says is not all of it
  }

  /** @param {any} scan */
  shows(scan) {
    return this.#scan === scan;
  }

  /** @param {any} scan of the client */
  follow(scan) {
    this.leave();
    this.#scan = scan;
    this.#cancelling = this.#lost = this.#share.hidden = false;
    this.#name("");
    const draw = painted(() => this.#scan === scan && this.#draw());
    scan.addEventListener("update", draw);
    scan.addEventListener("end", draw);
    draw();
  }

  /** Nothing is on show; the scan goes on. */
  leave() {
    this.#scan?.close();
    this.#scan = null;
    this.root.hidden = true;
    this.table.clear();
    this.progress.clear();
    this.about.clear();
    this.life.clear();
    this.queue.watch(null);
    this.#shared.hidden = true;
    tell(this.#trouble, "");
    element("details").close();
  }

  /** The scan on show is followed no more, and its end is not known. @param {string} why */
  lose(why) {
    this.#lost = true;
    mark(this.root, "data-verdict", "lost");
    this.#buttons(false);
    if (this.#shared.contains(document.activeElement) || document.activeElement === this.#share) this.#repeat.focus();
    this.#share.hidden = this.#shared.hidden = true;
    this.queue.watch(null);
    this.progress.lose(why);
    this.#name("lost");
  }

  /** Whether nobody looks for long, so that what is shown stays as it is. @param {boolean} is */
  pause(is) {
    if (this.#paused === is) return;
    this.#paused = is;
    if (this.state?.status === "scanning") this.#name(`${this.state.progress.percentage} %`);
  }
  #paused = false;
  #lost = false;

  /** Time has passed. */
  tick() {
    if (this.state) this.progress.tick();
  }

  #draw() {
    const state = this.state;
    if (!state || this.#lost) return;
    this.root.hidden = false;
    mark(this.root, "data-verdict", verdict(state));
    this.#take(this.#scan.opportunities);
    this.progress.show(state);
    this.table.explain(nothing(state));
    this.about.show(state);
    this.life.show(state);
    this.queue.watch(["init", "queued"].includes(state.phase) ? state.scan_id : null);
    const going = state.status === "scanning";
    this.#buttons(going);
    still(this.#cancel, this.#cancelling || state.phase === "cancelling");
    this.#csv.disabled = this.#json.disabled = !this.table.size;
    this.#name(going ? `${state.progress.percentage} %` : verdict(state));
    this.given.announcer.hear(state);
    this.given.news(state);
  }

  /** What can be done with a scan that goes on, or that has ended. @param {boolean} going */
  #buttons(going) {
    this.#repeat.hidden = this.#change.hidden = going;
    if (!going && document.activeElement === this.#cancel) this.#repeat.focus(); // what is hidden loses the focus
    this.#cancel.hidden = !going;
  }

  /** The title of the page, which is all that is seen of it behind other tabs. @param {string} text how the scan is */
  #name(text) {
    const found = this.state?.progress.opportunities_found_so_far;
    const told = text && [this.#paused ? `Paused at ${text}` : text, `${count(found)} found`].join(" · ");
    document.title = [told, "scanstream"].filter(Boolean).join(" – ");
  }

  /** What is new in a list that grows; or another list, where the server has lost what it had. @param {Plain[]} found */
  #take(found) {
    const { size, last } = this.table;
    const grown = size <= found.length && found[size - 1]?.id === last?.id;
    if (!grown) this.table.clear();
    this.table.add(found.slice(grown ? size : 0));
  }

  async #askCancel() {
    if (isStill(this.#cancel)) return;
    const scan = this.#scan;
    this.#cancelling = true;
    still(this.#cancel, true);
    tell(this.#trouble, "");
    try {
      await scan.cancel();
    } catch (error) {
      if (this.#scan !== scan) return;
      this.#cancelling = false;
      still(this.#cancel, false);
      tell(this.#trouble, `The scan could not be cancelled: ${reason(error)}. It goes on; try again.`);
    }
  }

  async #showLink() {
    const scan = this.#scan;
    const { expires_at: expires } = scan.state;
    let kept = expires ? `It leads here until ${clock(expires)}.` : "It leads here while the scan runs, and for a while after.";
    let token = "";
    if (this.given.access.known) {
      still(this.#share, true);
      tell(this.#trouble, "");
      try {
        token = (await scan.share({ expiresIn: SHARED_SECONDS })).token;
      } catch (error) {
        if (this.#scan === scan) tell(this.#trouble, `The scan could not be shared: ${reason(error)}.`);
        return;
      } finally {
        still(this.#share, false);
      }
      if (this.#scan !== scan) return;
      kept = `Whoever has it sees this scan, and nothing else, for a day at most. ${kept}`;
    }
    this.#link.value = link(scan.id, token);
    this.#shared.hidden = false;
    this.#link.select();
    let copied = "Copy it.";
    try {
      await navigator.clipboard.writeText(this.#link.value); // absent where the page did not come over https
      copied = "Copied.";
    } catch {
      this.#link.focus();
    }
    this.#sharedText.textContent = `${copied} ${kept}`;
    this.given.announcer.say(this.#sharedText.textContent);
  }

  /** What the table shows, in its order. @param {"csv" | "json"} kind */
  #export(kind) {
    const [state, rows] = [this.#scan.state, this.table.rows];
    if (kind === "csv") save(`${state.scan_id}.csv`, "text/csv;charset=utf-8", csv(rows));
    else save(`${state.scan_id}.json`, "application/json", json(state, rows));
  }
}

/** What an empty table says. @param {Plain} state */
function nothing(state) {
  if (state.progress.opportunities_found_so_far) return "";
  if (state.status === "scanning") return "Nothing was found yet. What is found appears here at once.";
  if (state.status === "complete") return "Nothing was found. Fewer filters, more symbols or other parameters may find something: “Change” puts this scan's settings into the form.";
  return "Nothing was found before the scan ended.";
}
