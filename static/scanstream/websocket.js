/** The first rung: one WebSocket, with a subscription for each scan. */

import { ofClose, ofHandshake, ofMessage } from "./answers.js";
import { QUIET_MS, silence, stuck, wanted } from "./attempt.js";
import { Unreachable } from "./errors.js";
import { isObject } from "./patch.js";
import { refused } from "./requests.js";
import { subprotocolOf } from "./token.js";

/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./attempt.js").Report} Report */
/** @typedef {import("./attempt.js").Tools} Tools */
/** @typedef {import("./patch.js").Plain} Plain */

export const SUBPROTOCOL = "scanstream.v1.json";
/** A CONNECTING socket is given up after so long. */
export const CONNECTING_MS = 10_000;
/** After so long without a message the other side is asked. */
export const PING_MS = 10_000;
/** It has so long to answer: within 15 s of its last word, though timers are late. */
export const PONG_MS = 4750;
/** What is no answer to a question, whatever else stands in it. */
const FRAMES = new Set(["snapshot", "update", "end"]);
/** A timer that is so late has slept with the machine: what came meanwhile is still to be read. */
const OVERDUE_MS = 1000;

/** @implements {Attempt} */
export class WebSocketAttempt {
  #tools;
  #report;
  /** @type {WebSocket | null} */
  #socket = null;
  #leaving = new AbortController();
  /** @type {readonly Followed[]} */
  #wanted = [];
  /** Those that the server knows of. @type {Map<string, Followed>} */
  #subscribed = new Map();
  /** When each was asked for, or brought a frame, last. @type {Map<string, number>} */
  #heardAt = new Map();
  #lookedAt = 0;
  /** Questions that are not answered yet. @type {Map<string, { scanId?: string, at: number }>} */
  #asked = new Map();
  #count = 0;
  #began;
  #open = false;
  #cancelWatch = () => {};
  #cancelRenewal = () => {};

  /** @param {Tools} tools @param {Report} report */
  constructor(tools, report) {
    this.#tools = tools;
    this.#report = report;
    this.#began = tools.around.clock.now();
    void this.#connect();
  }

  /** @param {readonly Followed[]} followed */
  follow(followed) {
    this.#wanted = followed;
    if (this.#open) this.#subscribe();
  }

  check() {
    if (this.#open) this.#ping();
  }

  close() {
    if (this.#leaving.signal.aborted) return;
    this.#leaving.abort();
    this.#cancelWatch();
    this.#cancelRenewal();
    this.#socket?.close(1000);
  }

  async #connect() {
    const { token, url, WebSocket } = this.#tools.around;
    const { signal } = this.#leaving;
    try {
      const credential = await token.get();
      await this.#tools.pace.turn(signal); // a client may have several lines
      if (signal.aborted) return;
      const protocols = credential ? [SUBPROTOCOL, subprotocolOf(credential)] : [SUBPROTOCOL];
      const socket = new WebSocket(new URL("ws", url).href.replace(/^http/, "ws"), protocols);
      this.#socket = socket;
      this.#watch(CONNECTING_MS, () => this.#over(stuck("A WebSocket")));
      socket.addEventListener("open", () => this.#opened());
      socket.addEventListener("message", (/** @type {MessageEvent} */ { data }) => this.#heard(data));
      socket.addEventListener("error", (/** @type {any} */ event) => void this.#closed(1006, "", event));
      socket.addEventListener("close", (/** @type {CloseEvent} */ { code, reason }) => void this.#closed(code, reason));
    } catch (error) {
      this.#over({ error: new Unreachable(`A WebSocket cannot be opened (${error})`, { cause: error }), why: "dropped" });
    }
  }

  #opened() {
    if (this.#leaving.signal.aborted) return;
    this.#open = this.#tools.history.opened = true;
    this.#listen();
    this.#renewInTime();
    this.#subscribe();
  }

  /** The server is told what has changed; until it says that it knows, frames are of an older subscription. */
  #subscribe() {
    const wished = new Map(this.#wanted.map((followed) => [followed.scanId, followed]));
    for (const [scanId, { over }] of this.#subscribed) {
      if (wished.has(scanId)) continue;
      this.#subscribed.delete(scanId);
      if (!over) this.#ask({ type: "unsubscribe", scan_id: scanId });
    }
    for (const [scanId, followed] of wished) {
      if (this.#subscribed.get(scanId) === followed) continue;
      this.#subscribed.set(scanId, followed);
      this.#subscribeTo(followed);
    }
  }

  /** @param {Followed} followed */
  #subscribeTo(followed) {
    this.#heardAt.set(followed.scanId, this.#tools.around.clock.now());
    this.#ask({ type: "subscribe", ...wanted([followed])[0] }, followed.scanId);
  }

  /** Those of which nothing has come for long are asked for anew. Something comes each 10 s, a pong at least. */
  #look() {
    const now = this.#tools.around.clock.now();
    if (now - this.#lookedAt < QUIET_MS / 3) return;
    this.#lookedAt = now;
    for (const [scanId, followed] of this.#subscribed) {
      if (!followed.over && (this.#heardAt.get(scanId) ?? now) < now - QUIET_MS) this.#subscribeTo(followed);
    }
  }

  /** @param {Plain} message @param {string} [scanId] of a subscription that it begins */
  #ask(message, scanId) {
    const id = String((this.#count += 1));
    this.#asked.set(id, { scanId, at: this.#tools.around.clock.now() });
    this.#socket?.send(JSON.stringify({ ...message, id }));
  }

  /** @param {unknown} data */
  #heard(data) {
    if (this.#leaving.signal.aborted) return;
    this.#listen();
    const message = read(data);
    if (!message) return this.#over(foreign());
    const asked = FRAMES.has(message.type) ? undefined : this.#asked.get(message.id);
    if (asked) {
      this.#asked.delete(message.id);
      this.#report.lag(this.#tools.around.clock.now() - asked.at);
    }
    if (this.#unanswered()) return this.#over(silence("The WebSocket"));
    if (message.type === "error") this.#refused(message, asked?.scanId);
    else if (asked) this.#report.alive();
    else if (this.#current(message)) {
      this.#heardAt.set(message.scan_id, this.#tools.around.clock.now());
      this.#report.message(message);
    }
    if (!this.#leaving.signal.aborted) this.#look();
  }

  /** Whether an answer is lost: frames of its scan would be taken for older ones for ever. */
  #unanswered() {
    const late = this.#tools.around.clock.now() - PING_MS;
    return [...this.#asked.values()].some(({ scanId, at }) => scanId !== undefined && at < late);
  }

  /** Whether it is of a subscription that the server has acknowledged. @param {Plain} message */
  #current({ scan_id: scanId }) {
    return this.#subscribed.has(scanId) && ![...this.#asked.values()].some((asked) => asked.scanId === scanId);
  }

  /** @param {Plain} message @param {string} [scanId] which subscription it answers */
  #refused(message, scanId) {
    const of = scanId ?? message.scan_id;
    const { error, why, retryAfter } = ofMessage(message);
    if (of !== undefined && why === null) {
      this.#subscribed.delete(of);
      this.#report.message({ ...message, scan_id: of });
    } else if (of !== undefined || message.id === undefined) this.#over({ error, why, retryAfter });
  }

  // Whether the other side is there

  #listen() {
    this.#watch(PING_MS, () => this.#ping());
  }

  #ping() {
    this.#ask({ type: "ping" });
    this.#watch(PONG_MS, (late) => (late > OVERDUE_MS ? this.#ping() : this.#over(silence("The WebSocket"))));
  }

  /** @param {number} ms @param {(late: number) => void} call */
  #watch(ms, call) {
    const { clock } = this.#tools.around;
    const due = clock.now() + ms;
    this.#cancelWatch();
    this.#cancelWatch = clock.after(ms, () => call(clock.now() - due));
  }

  /** The token of an open socket is renewed before it runs out. */
  #renewInTime() {
    const { clock, token } = this.#tools.around;
    if (token.renewIn === Infinity) return;
    this.#cancelRenewal = clock.after(Math.max(1000, token.renewIn), async () => {
      const credential = await token.get().catch(() => null); // then the server says when it has run out
      if (this.#leaving.signal.aborted) return;
      if (credential) this.#ask({ type: "authenticate", token: credential });
      this.#renewInTime();
    });
  }

  // The end

  /** @param {number} code @param {string} reason @param {any} [event] */
  async #closed(code, reason, event) {
    const { signal } = this.#leaving;
    if (this.#open || signal.aborted) return this.#open && !event ? this.#over(ofClose(code, reason)) : undefined;
    this.#open = true; // `error` is followed by `close`: one of them is enough
    this.#cancelWatch();
    const status = Number(/response: (\d{3})/.exec(event?.message ?? "")?.[1]) || undefined; // as the package ws says it
    const { requests, history } = this.#tools;
    const known = requests.knownAt(this.#began) && !history.opened; // where they got through before, it may be a restart
    try {
      const away = status === undefined && (refused(event?.error) ?? (await requests.away(signal)));
      if (away) this.#over({ error: new Unreachable("The server does not answer"), why: "refused" });
      else if (known || status) this.#over(ofHandshake(status));
      else this.#over(stuck("A WebSocket")); // the server may have come back only now
    } catch {
      // it was closed meanwhile
    }
  }

  /** @param {import("./answers.js").Verdict} verdict */
  #over(verdict) {
    if (this.#leaving.signal.aborted) return;
    this.close();
    this.#report.lost(verdict);
  }
}

/** What came, if it is a message. What was in it else would be missing for ever. @param {unknown} data @returns {Plain | null} */
function read(data) {
  try {
    const message = JSON.parse(String(data));
    return isObject(message) ? message : null;
  } catch {
    return null; // of another kind than we asked for
  }
}

/** @returns {import("./answers.js").Verdict} */
const foreign = () => ({ error: new Unreachable("What answers sends what is no message of a scanstream server"), why: "dropped" });
