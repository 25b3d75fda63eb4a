/**
 * `<scan-progress scan-id="scan_…">`: one scan, live, on any page. docs/scan-progress.md has its attributes, events,
 * parts and colours.
 *
 *     <script type="module" src="/static/scan-progress.js"></script>
 *     <scan-progress scan-id="latest"></scan-progress>
 */

import { ScanError, Unreachable } from "./scanstream/errors.js";
import { claim } from "./progress/shared.js";
import { SHEET } from "./progress/sheet.js";
import { View } from "./progress/view.js";

/** @typedef {import("./scanstream/client.js").Client} Client */
/** @typedef {import("./scanstream/line.js").Connection} Connection */
/** @typedef {import("./scanstream/scan.js").Scan} Scan */

/** @typedef {import("./scanstream/patch.js").Plain} Plain */
/** @typedef {import("./scanstream/updates.js").Update} Update */
/** @typedef {import("./scanstream/heard.js").Heard<{ "scan-update": Update, "scan-end": Plain, "scan-error": ScanError }>} Heard */

/**
 * Events, which bubble and leave shadow trees: `scan-update` (its `detail` is an `Update`), `scan-end` (the terminal
 * state), `scan-error` (a `ScanError`: the scan cannot be followed).
 */
export class ScanProgress extends /** @type {new () => Heard & HTMLElement} */ (HTMLElement) {
  static observedAttributes = ["scan-id", "url", "only", "no-cancel"];

  #view;
  /** @type {Client | null} */
  #givenClient = null;
  /** @type {Scan | null} */
  #givenScan = null;
  /** @type {Client | null} */
  #client = null;
  /** @type {Scan | null} */
  #scan = null;
  /** Ends what was begun for the scan that is followed; null while none is. @type {(() => void) | null} */
  #leave = null;
  /** Whether a look at what is wanted is due. */
  #due = false;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [SHEET];
    this.#view = new View(root, () => void this.#cancel());
  }

  connectedCallback() {
    for (const name of /** @type {const} */ (["scanId", "url", "only", "client", "scan"])) this.#upgrade(name);
    this.#look();
  }

  disconnectedCallback() {
    this.#look();
  }

  /** Its scan stays as it is: see `Element.moveBefore`. */
  connectedMoveCallback() {}

  /** @param {string} name @param {string | null} before @param {string | null} after */
  attributeChangedCallback(name, before, after) {
    if (before === after) return;
    if (name === "no-cancel") this.#show();
    else this.#restart();
  }

  /** What is followed: an id, or `latest`. */
  get scanId() {
    return this.getAttribute("scan-id");
  }

  set scanId(value) {
    this.#attribute("scan-id", value);
  }

  /** Of the server; that where this module came from, unless it is given. */
  get url() {
    return this.getAttribute("url");
  }

  set url(value) {
    this.#attribute("url", value);
  }

  /** `state`: the updates bring no opportunities. */
  get only() {
    return this.getAttribute("only") === "state" ? "state" : null;
  }

  set only(value) {
    this.#attribute("only", value);
  }

  /** Who follows: one of yours, with a token of yours; else one that all such elements of a page share. */
  get client() {
    return this.#givenClient ?? this.#client;
  }

  set client(value) {
    if (value === this.#givenClient) return;
    this.#givenClient = value;
    this.#restart();
  }

  /** What is shown; one of yours goes before `scan-id`, and stays yours to close. */
  get scan() {
    return this.#scan;
  }

  set scan(value) {
    if (value === this.#givenScan) return;
    this.#givenScan = value;
    this.#restart();
  }

  /** The newest state; empty while there is none. */
  get state() {
    return this.#scan?.state ?? {};
  }

  /** How the line to the server is; null while there is none. */
  get connection() {
    return this.#leave ? (this.client?.connection ?? null) : null;
  }

  /** @param {string} name @param {string | null} value */
  #attribute(name, value) {
    if (value === null || value === undefined) this.removeAttribute(name);
    else this.setAttribute(name, value);
  }

  /** A property that was set before this class was known hides the one of the class. @param {"scanId" | "url" | "only" | "client" | "scan"} name */
  #upgrade(name) {
    if (!Object.hasOwn(this, name)) return;
    const { [name]: value } = this;
    delete this[name];
    Object.assign(this, { [name]: value });
  }

  /** Something else is wanted. */
  #restart() {
    this.#leave?.();
    this.#look();
  }

  /** Begin or leave, once what comes together has come: to move an element is to remove it and to insert it. */
  #look() {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      if (!this.isConnected) this.#leave?.();
      else if (!this.#leave) this.#begin();
    });
  }

  #begin() {
    this.#view.begin();
    if (!this.#givenScan && !this.scanId) {
      this.#scan = null;
      return this.#show();
    }
    try {
      const shared = this.#givenClient || this.#givenScan ? null : claim(this.url ?? undefined);
      this.#client = shared?.client ?? null;
      this.#follow(shared?.release ?? (() => {}));
    } catch (error) {
      if (error instanceof ScanError) this.#failed(error); // a client of somebody's that is closed
      else if (error instanceof TypeError) this.#failed(new Unreachable(error.message, { cause: error })); // no address
      else throw error;
    }
  }

  /** @param {() => void} release */
  #follow(release) {
    const scan = this.#givenScan ?? /** @type {Client} */ (this.client).watch(this.scanId ?? "", { only: this.only });
    const listening = new AbortController();
    this.#scan = scan;
    this.#leave = () => {
      this.#leave = null;
      listening.abort();
      this.#view.rest();
      if (scan !== this.#givenScan) scan.close();
      release();
      this.#client = null;
    };
    this.#listen(scan, listening.signal);
    this.#show();
  }

  /** @param {Scan} scan @param {AbortSignal} signal */
  #listen(scan, signal) {
    scan.addEventListener("update", (event) => this.#tell("scan-update", detailOf(event)), { signal });
    scan.addEventListener("end", (event) => this.#tell("scan-end", detailOf(event)), { signal });
    scan.addEventListener("error", (event) => this.#failed(detailOf(event)), { signal });
    this.client?.addEventListener("connection", () => this.#show(), { signal });
  }

  /** @param {string} type @param {unknown} detail */
  #tell(type, detail) {
    this.#show();
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }

  /** @param {ScanError} error */
  #failed(error) {
    this.#view.refuse(error);
    this.#tell("scan-error", error);
  }

  #show() {
    const cancels = !this.hasAttribute("no-cancel");
    this.#view.show({ state: this.state, named: this.#scan !== null, connection: this.connection, cancels });
  }

  /** Ends the scan for all who follow it; what was found is kept. */
  async cancel() {
    await this.#scan?.cancel();
  }

  async #cancel() {
    try {
      await this.cancel();
    } catch (error) {
      if (error instanceof ScanError) this.#view.regret(error);
      else throw error;
    }
  }
}

/** @param {Event} event @returns {any} */
function detailOf(event) {
  return /** @type {CustomEvent} */ (event).detail;
}

if (!customElements.get("scan-progress")) customElements.define("scan-progress", ScanProgress);
