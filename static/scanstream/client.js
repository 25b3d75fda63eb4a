/** A server, and the scans of it that are followed: all over one line. */

import { Attention } from "./attention.js";
import { ofHttp } from "./answers.js";
import { pause } from "./backoff.js";
import { wait } from "./clock.js";
import { Closed, ScanError } from "./errors.js";
import { RUNGS } from "./ladder.js";
import { Line } from "./line.js";
import { parse, recounted } from "./cursor.js";
import { Mirror } from "./mirror.js";
import { Pace } from "./pace.js";
import { framesOf } from "./poll.js";
import { Reader } from "./reader.js";
import { Lost, Requests } from "./requests.js";
import { Room } from "./room.js";
import { RUNG, Rungs } from "./rungs.js";
import { Scan } from "./scan.js";
import { surroundings } from "./surroundings.js";

/** @typedef {import("./line.js").Connection} Connection */
/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {import("./requests.js").Patience} Patience */
/** @typedef {import("./requests.js").Question} Question */
/** @typedef {import("./surroundings.js").Options} Options */

/** @type {Connection} */
const IDLE = Object.freeze({ state: "connecting", transport: null, attempts: 0, retryAt: null, lag: null, reason: null });

/** @typedef {import("./heard.js").Heard<{ connection: Connection }>} Heard */

/** Events: `connection`, whose `detail` is a `Connection`. */
export class Client extends /** @type {new () => Heard & EventTarget} */ (EventTarget) {
  #around;
  #requests;
  #rungs;
  #transports;
  #attention;
  #unlisten = () => {};
  /** One, unless hundreds of scans are followed. @type {Line[]} */
  #lines = [];
  /** @type {Set<Scan>} */
  #scans = new Set();
  /** Each scan's, once however often it is followed. @type {Set<Reader>} */
  #readers = new Set();
  #closing = new AbortController();
  #connection = IDLE;

  /**
   * @param {string | URL} [url] of the server; that where this module came from
   * @param {Options} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#around = surroundings(url, options);
    this.#transports = transportsOf(options.transports ?? RUNGS, this.#around.WebSocket !== null);
    this.#requests = new Requests(this.#around);
    this.#attention = new Attention(this.#around.clock);
    this.#rungs = new Rungs(this.#around, this.#requests, new Room(this.#around.url, this.#attention), this.#transports);
  }

  /** Where the server is. */
  get url() {
    return this.#around.url.href;
  }

  get connection() {
    return this.#connection;
  }

  /**
   * Start a scan. A lost answer never starts a second one: the key is the same.
   * @param {Plain} [request] docs/protocol.md, section 3
   * @param {Patience & { idempotencyKey?: string }} [options]
   * @returns {Promise<Scan>}
   * @throws {ScanError}
   */
  async discover(request = {}, { idempotencyKey = newKey(), ...patience } = {}) {
    const headers = { "Idempotency-Key": idempotencyKey };
    new Headers(headers); // a key that cannot be sent is the caller's mistake, and no lost connection
    const question = { method: "POST", headers, body: request, needs: ["scan_id", "progress"], ...patience };
    const { body } = await this.#ask("opportunities/discover", question);
    const scan = new Scan(this.#home, body.scan_id, body);
    this.#scans.add(scan);
    this.#follow(scan, body.scan_id, undefined);
    return scan;
  }

  /**
   * Follow a scan that there is.
   * @param {string} scanId or `latest`
   * @param {{ since?: string | null, only?: "state" | null }} [from] a cursor to go on from; `only: "state"` leaves the
   *   opportunities out
   * @returns {Scan} whose errors come with its iterators and its `done`
   */
  watch(scanId, { since, only } = {}) {
    this.#beOpen();
    const scan = new Scan(this.#home, scanId);
    this.#scans.add(scan);
    if (scanId === "latest" || since) void this.#locate(scan, scanId, since ?? null, only ?? undefined);
    else this.#follow(scan, scanId, only ?? undefined);
    return scan;
  }

  /** The catalogue of strategies, each with the JSON Schema of its parameters. @param {Patience} [patience] @returns {Promise<Plain[]>} */
  async strategies(patience = {}) {
    return (await this.#ask("opportunities/strategies", patience)).body;
  }

  /** What is scanned. @param {Patience} [patience] @returns {Promise<Plain>} */
  async market(patience = {}) {
    return (await this.#ask("opportunities/market", { needs: ["market"], ...patience })).body;
  }

  /** Scans of the caller, newest first. @param {Patience & { limit?: number, before?: string }} [page] @returns {Promise<Plain[]>} */
  async scans({ limit, before, ...patience } = {}) {
    const query = new URLSearchParams();
    if (limit !== undefined) query.set("limit", String(limit));
    if (before !== undefined) query.set("before", before);
    return (await this.#ask(`opportunities/scans?${query}`, { needs: ["scans"], ...patience })).body.scans;
  }

  /** Try again now. */
  reconnect() {
    for (const line of this.#lines) line.reconnect();
  }

  /** Follow nothing any more; the scans go on. */
  close() {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new Closed());
    for (const scan of [...this.#scans]) scan.close();
    for (const line of this.#lines) line.close();
    this.#unlisten();
    if (!this.#lines.length) this.#tell({ ...this.#connection, state: "closed" }); // else a line has told it
  }

  get #home() {
    return {
      clock: this.#around.clock,
      ask: (/** @type {string} */ path, /** @type {Question & Patience} */ question) => this.#ask(path, question),
      release: (/** @type {Scan} */ scan, /** @type {Reader | null} */ reader) => this.#release(scan, reader),
    };
  }

  #beOpen() {
    if (this.#closing.signal.aborted) throw new Closed("The client is closed");
  }

  /** One question of a caller. @param {string} path @param {Question & Patience} question */
  async #ask(path, { signal, ...question }) {
    this.#beOpen();
    const either = new AbortController();
    const leave = () => either.abort(signal?.aborted ? signal.reason : this.#closing.signal.reason);
    const signals = signal ? [signal, this.#closing.signal] : [this.#closing.signal];
    for (const one of signals) one.addEventListener("abort", leave);
    if (signal?.aborted) leave();
    try {
      return await this.#requests.patiently(path, { ...question, signal: either.signal });
    } finally {
      for (const one of signals) one.removeEventListener("abort", leave);
    }
  }

  // Following

  /** @param {Scan} scan @param {string} scanId @param {"state" | undefined} only @param {Reader} [located] */
  #follow(scan, scanId, only, located) {
    const start = located?.mirror.base ?? 0;
    const known = [...this.#readers].find((one) => one.scanId === scanId && (!one.over || (!one.error && one.covers(only, start))));
    const reader = known ?? located ?? new Reader(scanId, only);
    this.#readers.add(reader);
    scan.begin(reader, { only, start });
    if (known && !known.covers(only, start)) this.#lines.find((line) => line.has(known))?.widen(known);
    if (known || reader.over) return;
    if (!this.#lines.length) this.#unlisten = this.#attention.listen(this.#attended);
    const line = this.#lines.find((one) => one.takes(reader)) ?? this.#newLine();
    line.add(reader);
  }

  #newLine() {
    const first = !this.#lines.length;
    const told = first ? (/** @type {Connection} */ connection) => this.#tell(connection) : () => {};
    const line = new Line({ rungs: this.#rungs, around: this.#around, transports: this.#transports, told });
    this.#lines.push(line);
    return line;
  }

  get #attended() {
    return {
      hide: () => this.#lines.forEach((line) => line.hide()),
      pause: () => this.#lines.forEach((line) => line.pause()),
      look: () => this.#lines.forEach((line) => line.look()),
    };
  }

  /** @param {Scan} scan @param {Reader | null} reader */
  #release(scan, reader) {
    this.#scans.delete(scan);
    if (!reader || reader.shared) return;
    this.#readers.delete(reader);
    for (const line of this.#lines) line.remove(reader);
  }

  /**
   * Learn the real id of `latest`, and the state that a patch from a cursor stands on.
   * @param {Scan} scan
   * @param {string} name
   * @param {string | null} since
   * @param {"state" | undefined} only
   */
  async #locate(scan, name, since, only) {
    const signal = scan.leaving;
    const query = since && !only ? `?since=${encodeURIComponent(since)}` : "";
    const path = `opportunities/status/${encodeURIComponent(name)}${query}`;
    const { clock, random } = this.#around;
    const pace = new Pace(clock);
    for (let failures = 1; !signal.aborted; failures += 1) {
      try {
        await pace.turn(signal);
        const { body } = await this.#requests.json(path, { signal, needs: ["scan_id", "status", "cursor"] });
        if (since === null) this.#follow(scan, body.scan_id, only);
        else this.#follow(scan, body.scan_id, only, located(body, since, only));
        return;
      } catch (error) {
        if (signal.aborted) return;
        const verdict = error instanceof Lost ? error.verdict : ofHttp(0, null);
        if (verdict.why === null) return scan.fail(verdict.error);
        await wait(clock, pause(failures, random, verdict.retryAfter), signal).catch(() => {});
      }
    }
  }

  /** @param {Connection} connection */
  #tell(connection) {
    this.#connection = Object.freeze(connection);
    this.dispatchEvent(new CustomEvent("connection", { detail: this.#connection }));
  }
}

/** A reader from a cursor on. @param {Plain} body @param {string} since @param {"state" | undefined} only */
function located(body, since, only) {
  const [reader, before] = [new Reader(body.scan_id, only, Mirror.since(since)), parse(since)];
  const here = only && before?.epoch === parse(body.cursor)?.epoch; // the place among opportunities stays that of `since`
  const told = here && before ? { ...body, cursor: recounted(body.cursor, () => before.n), offset: before.n } : body;
  for (const frame of framesOf(told, { scanId: body.scan_id, cursor: only && !here ? null : since, only })) reader.take(frame);
  return reader;
}

/** @param {readonly string[]} wished @param {boolean} sockets whether there are WebSockets */
function transportsOf(wished, sockets) {
  const unknown = wished.find((rung) => !Object.hasOwn(RUNG, rung));
  if (unknown !== undefined) throw new TypeError(`There is no transport ${unknown}; there are ${RUNGS.join(", ")}`);
  const found = wished.filter((rung) => sockets || rung !== "websocket");
  if (!found.length) throw new TypeError("There is no transport to use: Node 20 has no WebSocket, hand one in");
  return found;
}

/** An idempotency key; a page without a secure context has no randomUUID. */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
