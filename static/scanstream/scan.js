/** A scan as callers see it: an object that is always true. */

import { wait } from "./clock.js";
import { Closed, ScanError } from "./errors.js";
import { TIMEOUT_MS } from "./requests.js";
import { cursorOf, heldOf, Updates } from "./updates.js";

/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {import("./reader.js").Reader} Reader */
/** @typedef {import("./requests.js").Patience} Patience */
/** @typedef {import("./updates.js").Part} Part */
/** @typedef {import("./updates.js").Update} Update */
/**
 * @typedef {object} Home what a scan asks of its client
 * @property {(path: string, question: import("./requests.js").Question & Patience) => Promise<{ status: number, headers: Headers, body: any }>} ask
 * @property {(scan: Scan, reader: Reader | null) => void} release it is followed no more
 * @property {import("./clock.js").Clock} clock
 */

/** So long the server may wait with the results for the end of the scan, before it is asked again. */
const RESULTS_WAIT_S = 5;

/** @typedef {import("./heard.js").Heard<{ update: Update, end: Plain, error: ScanError }>} Heard */

/**
 * Events: `update` (its `detail` is an `Update`), `end` (the terminal state), `error` (a `ScanError`).
 */
export class Scan extends /** @type {new () => Heard & EventTarget} */ (EventTarget) {
  #home;
  #name;
  #ack;
  /** @type {Part} */
  #part = { only: undefined, start: 0 };
  /** @type {Reader | null} */
  #reader = null;
  #unwatch = () => {};
  #leaving = new AbortController();
  /** @type {Updates | null} */
  #updates = null;
  /** @type {ScanError | null} */
  #error = null;
  /** Iterators that wait. @type {Set<() => void>} */
  #waiting = new Set();
  /** @type {(state: Plain) => void} */
  #resolve = () => {};
  /** @type {(error: ScanError) => void} */
  #reject = () => {};

  /** Resolves with the terminal state, whatever it is; rejects if the scan cannot be followed to its end. @type {Promise<Plain>} */
  done;

  /**
   * Made by `Client`.
   * @param {Home} home
   * @param {string} name its id, or `latest`
   * @param {Plain} [ack] of its discover
   */
  constructor(home, name, ack) {
    super();
    this.#home = home;
    this.#name = name;
    this.#ack = ack;
    this.done = new Promise((resolve, reject) => ([this.#resolve, this.#reject] = [resolve, reject]));
    this.done.catch(() => {}); // who does not ask need not care
  }

  /** Made by `Client`: from now on it is followed. @param {Reader} reader @param {Part} part */
  begin(reader, part) {
    if (this.#leaving.signal.aborted) return;
    this.#reader = reader;
    this.#part = part;
    this.#name = reader.scanId;
    this.#updates = new Updates(reader, part);
    this.#unwatch = reader.watch(() => this.#news());
    if (reader.version > 0) queueMicrotask(() => this.#news());
  }

  /** Made by `Client`: it cannot be followed. @param {ScanError} error */
  fail(error) {
    if (!this.#leaving.signal.aborted) this.#failed(error);
  }

  /** Made for `Client`: aborted when it is to be followed no more. */
  get leaving() {
    return this.#leaving.signal;
  }

  /** The real one, as soon as it is known. */
  get id() {
    return this.#name;
  }

  /** The newest; what the answer to discover said, until there is one. @returns {Plain} */
  get state() {
    const state = this.#reader?.mirror.state ?? {};
    return Object.keys(state).length ? state : provisional(this.#ack);
  }

  /** `scanning`, `complete`, `failed` or `cancelled`. @returns {string} */
  get status() {
    return this.state.status ?? "scanning";
  }

  /** All that is known, in the order of the log. @returns {readonly Plain[]} */
  get opportunities() {
    return this.#reader ? heldOf(this.#reader, this.#part) : [];
  }

  /** Where to go on from: what `watch({ since })` takes. @returns {string | null} */
  get cursor() {
    return (this.#reader && cursorOf(this.#reader, this.#part)) ?? this.#ack?.cursor ?? null;
  }

  /**
   * All results, best first; waits for the end of the scan, and for each answer of the server as long as `timeout`.
   * @param {Patience} [patience]
   * @returns {Promise<Plain[]>}
   */
  async results({ timeout = TIMEOUT_MS, signal } = {}) {
    const seconds = Math.min(RESULTS_WAIT_S, Math.floor(timeout / 2000));
    for (;;) {
      const path = `opportunities/results/${encodeURIComponent(this.#name)}?wait=${seconds}`;
      const { status, body } = await this.#home.ask(path, { timeout, signal, needs: ["scan_id", "status"] });
      if (status === 200 && Array.isArray(body.opportunities)) return body.opportunities;
      await wait(this.#home.clock, 250, signal);
    }
  }

  /**
   * Ends the scan for all who follow it; what was found is kept. The end arrives as state.
   * @param {Patience} [patience]
   * @returns {Promise<Plain>} the state after the server has heard of it
   */
  async cancel(patience = {}) {
    const path = `opportunities/cancel/${encodeURIComponent(this.#name)}`;
    return (await this.#home.ask(path, { method: "POST", needs: ["scan_id", "status"], ...patience })).body;
  }

  /**
   * A token for this one scan, to be handed on, and addresses with it (docs/protocol.md, section 8).
   * @param {{ rights?: ("read" | "cancel")[], expiresIn?: number } & Patience} [wanted] `expiresIn`: seconds
   * @returns {Promise<Plain>} `token`, `rights`, `expires_at`, `links`
   */
  async share({ rights = ["read"], expiresIn = 3600, ...patience } = {}) {
    const path = `opportunities/share/${encodeURIComponent(this.#name)}`;
    const body = { rights, expires_in_seconds: expiresIn };
    return (await this.#home.ask(path, { method: "POST", body, needs: ["token"], ...patience })).body;
  }

  /**
   * Have an address told of the scan's end, whatever becomes of this program (docs/webhooks.md). The same address again
   * is the same notification.
   * @param {string} url
   * @param {Patience} [patience]
   * @returns {Promise<Plain>} `notification_id`, `url`, `signing_secret`
   */
  async notify(url, patience = {}) {
    const path = `opportunities/notify/${encodeURIComponent(this.#name)}`;
    const needs = ["notification_id", "signing_secret"];
    return (await this.#home.ask(path, { method: "POST", body: { url }, needs, ...patience })).body;
  }

  /** Follow it no more; the scan goes on. */
  close() {
    if (this.#leaving.signal.aborted) return;
    this.#reject(new Closed());
    this.#leave();
  }

  /**
   * From what is held to the end of the scan. Each iterator sees everything, in as many updates as it has the time for.
   * @returns {AsyncGenerator<Update, void, undefined>}
   */
  async *[Symbol.asyncIterator]() {
    /** @type {Updates | null} */
    let updates = null;
    for (;;) {
      if (this.#reader) updates ??= new Updates(this.#reader, this.#part);
      if (updates?.news && !this.#left) yield updates.take();
      else if (this.#error) throw this.#error;
      else if (this.#left || this.#reader?.over) return;
      else await new Promise((resolve) => this.#waiting.add(() => resolve(undefined)));
    }
  }

  /** Whether it was left before its end was known. */
  get #left() {
    return this.#leaving.signal.aborted && this.#error === null && !this.#reader?.mirror.ended;
  }

  #news() {
    const reader = this.#reader;
    const { signal } = this.#leaving;
    if (!reader || signal.aborted) return;
    if (this.#updates?.news) this.dispatchEvent(new CustomEvent("update", { detail: this.#updates.take() }));
    if (signal.aborted) return; // a listener has closed it
    if (reader.error) return this.#failed(reader.error);
    if (reader.mirror.ended) {
      this.#resolve(reader.mirror.state);
      this.#leave();
      this.dispatchEvent(new CustomEvent("end", { detail: reader.mirror.state }));
    } else this.#wake();
  }

  /** @param {ScanError} error */
  #failed(error) {
    this.#error = error;
    this.#reject(error);
    this.#leave();
    this.dispatchEvent(new CustomEvent("error", { detail: error }));
  }

  /** It is followed no more; what is held stays. */
  #leave() {
    this.#leaving.abort();
    this.#unwatch();
    this.#wake();
    this.#home.release(this, this.#reader);
  }

  #wake() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const call of waiting) call();
  }
}

/** What the answer to discover says of the state. @param {Plain | undefined} ack @returns {Plain} */
function provisional(ack) {
  if (!ack) return {};
  const { success, scan_id, status, message, filters, progress, poll_url, results_url } = ack;
  return { success, scan_id, status: status === "initiated" ? "scanning" : status, message, filters, progress, poll_url, results_url };
}
