/**
 * One line to the server for many scans: goes up and down the ladder, and hands what comes to the scans' readers. At any
 * time at most one attempt brings frames; beside it one may be trying a better rung.
 */

import { ofMessage } from "./answers.js";
import { Condition } from "./condition.js";
import { Unreachable } from "./errors.js";
import { Ladder } from "./ladder.js";
import { GapError } from "./mirror.js";
import { RUNG } from "./rungs.js";

/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./patch.js").Plain} Plain */
/** @typedef {import("./reader.js").Reader} Reader */
/** @typedef {import("./rungs.js").Rungs} Rungs */
/** @typedef {import("./condition.js").Connection} Connection */
/**
 * @typedef {object} Held an attempt that is under way
 * @property {string} rung
 * @property {Attempt} attempt
 * @property {boolean} asks whether it has yet to show that it brings frames, before anything else is asked of it
 */

/** Scans that one connection may follow. */
export const MOST_SCANS = 256;

export class Line {
  #rungs;
  #clock;
  #ladder;
  #condition;
  /** @type {Map<string, Reader>} */
  #readers = new Map();
  /** @type {Held | null} */
  #working = null;
  /** @type {Held | null} */
  #climbing = null;
  /** @type {(() => void)[]} */
  #timers = [];
  #paused = false;
  /** Whether the server has refused our token since the last frame. */
  #unauthorized = false;

  /**
   * @param {object} given
   * @param {Rungs} given.rungs
   * @param {import("./surroundings.js").Surroundings} given.around
   * @param {readonly string[]} given.transports
   * @param {(connection: Connection) => void} given.told called when it has changed
   */
  constructor({ rungs, around, transports, told }) {
    this.#rungs = rungs;
    this.#clock = around.clock;
    this.#ladder = new Ladder({ rungs: transports, random: around.random });
    this.#condition = new Condition(told);
  }

  get connection() {
    return this.#condition.connection;
  }

  /** Whether it can follow this one, too. @param {Reader} reader */
  takes({ scanId }) {
    return this.#readers.size < MOST_SCANS && !this.#readers.has(scanId);
  }

  /** @param {Reader} reader */
  has(reader) {
    return this.#readers.get(reader.scanId) === reader;
  }

  /** @param {Reader} reader */
  add(reader) {
    const first = !this.#readers.size;
    this.#readers.set(reader.scanId, reader);
    if (this.#paused) return;
    if (first) this.#start();
    else this.#follow();
  }

  /** @param {Reader} reader @returns {boolean} whether it was there */
  remove(reader) {
    if (!this.has(reader)) return false;
    this.#readers.delete(reader.scanId);
    if (!this.#readers.size) this.#stop();
    else this.#follow();
    return true;
  }

  /** More of this one is wanted than before. @param {Reader} reader */
  widen(reader) {
    reader.widen();
    if (!this.#paused) this.#follow();
  }

  /** Begin anew, now. */
  reconnect() {
    if (!this.#readers.size) return;
    this.#paused = false;
    this.#start();
    this.#look();
  }

  /** Nobody looks: what keeps a connection from others is left. */
  hide() {
    for (const held of [this.#climbing, this.#working]) {
      if (held && RUNG[held.rung].crowds) this.#lost(held, crowded());
    }
  }

  /** Nobody looks for long. */
  pause() {
    this.#paused = true;
    this.#stop();
    this.#condition.tell({ state: "paused", retryAt: null, reason: null });
  }

  /** Somebody looks, or the network is back: one check. */
  look() {
    if (!this.#paused) return this.#look();
    this.#paused = false;
    if (!this.#readers.size) return this.#condition.tell({ state: this.connection.transport ? "live" : "connecting" });
    this.reconnect();
  }

  close() {
    this.#readers.clear();
    this.#stop();
    this.#condition.tell({ state: "closed", retryAt: null, reason: null });
  }

  #look() {
    this.#working?.attempt.check();
    this.#ladder.online(this.#clock.now());
    this.#schedule();
  }

  get #followed() {
    return [...this.#readers.values()].map(({ followed }) => followed);
  }

  #start() {
    this.#stop();
    this.#ladder.start(this.#clock.now());
    this.#condition.tell({ state: "connecting", retryAt: null });
    this.#schedule();
  }

  #stop() {
    for (const cancel of this.#timers) cancel();
    this.#timers = [];
    this.#working?.attempt.close();
    this.#climbing?.attempt.close();
    this.#working = this.#climbing = null;
    this.#ladder.stop();
  }

  /** What the ladder says is due. */
  #schedule() {
    for (const cancel of this.#timers) cancel();
    this.#timers = [];
    const now = this.#clock.now();
    const { next, climb } = this.#ladder;
    if (next) this.#timers.push(this.#clock.after(next.at - now, () => (this.#working = this.#begin(next.rung))));
    if (climb) this.#timers.push(this.#clock.after(climb.at - now, () => (this.#climbing = this.#begin(climb.rung))));
  }

  /** @param {string} rung @returns {Held | null} */
  #begin(rung) {
    const climbs = rung !== this.#ladder.rung;
    this.#ladder.began(rung, this.#clock.now());
    /** @type {Held} */
    const held = { rung, asks: climbs || this.#unproven(rung), attempt: this.#rungs.open(rung, {
      alive: () => this.#alive(held),
      message: (message) => this.#message(held, message),
      lag: (ms) => this.#condition.tell({ lag: Math.round(ms) }),
      lost: (verdict) => this.#lost(held, verdict),
    }) };
    const [first] = this.#followed;
    // It is proven by any frame: the state of one scan is there at once, whether there is news or not.
    held.attempt.follow(held.asks ? [{ scanId: first.scanId, cursor: null, only: "state" }] : this.#followed);
    if (!climbs) this.#condition.attempt(this.#ladder.attempts);
    this.#schedule();
    return held;
  }

  /** Whether the last frame came over another rung, and none might come over this one while there is no news. @param {string} rung */
  #unproven(rung) {
    const asked = RUNG[rung].answers || this.#followed.some(({ cursor }) => cursor === null);
    return rung !== this.connection.transport && !asked;
  }

  /** What is wanted has changed. */
  #follow() {
    if (!this.#working?.asks) this.#working?.attempt.follow(this.#followed);
  }

  /** It brings frames: each scan from its cursor. @param {Held} held */
  #askAll(held) {
    held.asks = false;
    held.attempt.follow(this.#followed);
  }

  get #best() {
    return this.#ladder.rung === this.#rungs.best;
  }

  /** It answers, though there is nothing new. @param {Held} held */
  #alive(held) {
    if (held === this.#working) this.#condition.alive(held.rung, this.#best);
  }

  /** @param {Held} held @param {Plain} message */
  #message(held, message) {
    const isFrame = FRAMES.has(message.type);
    if (held === this.#climbing) {
      if (isFrame) this.#moveTo(held);
      else if (message.type === "error") this.#lost(held, { error: new Unreachable(String(message.detail)), why: "dropped" });
      return;
    }
    if (held !== this.#working) return;
    const reader = this.#readers.get(message.scan_id);
    if (message.type === "error") return this.#refused(held, reader, message);
    if (held.asks && isFrame) {
      this.#proven(held);
      return this.#askAll(held);
    }
    if (!reader) return;
    try {
      if (isFrame) this.#frame(held, reader, message);
    } catch (error) {
      if (!(error instanceof GapError)) throw error;
      this.#lost(held, { error: new Unreachable(`Something is missing: ${error.message}`, { cause: error }), why: "dropped" });
    }
  }

  /** What is said of one scan: it passes, or ends that one. @param {Held} held @param {Reader | undefined} reader @param {Plain} message */
  #refused(held, reader, message) {
    const verdict = ofMessage(message);
    if (verdict.why !== null) return this.#lost(held, verdict);
    reader?.fail(verdict.error);
    if (held.asks && held === this.#working) this.#askAll(held);
  }

  /** @param {Held} held @param {Reader} reader @param {Plain} message */
  #frame(held, reader, message) {
    const news = reader.take(message);
    this.#proven(held);
    if (news) reader.tell();
    if (reader.over) this.remove(reader);
  }

  /** The better rung works: on from there. @param {Held} held */
  #moveTo(held) {
    this.#working?.attempt.close();
    this.#working = held;
    this.#climbing = null;
    this.#askAll(held);
    this.#proven(held);
  }

  /** It brought a frame. @param {Held} held */
  #proven({ rung }) {
    this.#ladder.frame(rung, this.#clock.now());
    this.#unauthorized = false;
    this.#schedule();
    this.#condition.frame(rung, this.#best);
  }

  /** @param {Held} held @param {Verdict} verdict */
  #lost(held, verdict) {
    if (held !== this.#working && held !== this.#climbing) return;
    held.attempt.close();
    const { error, why, retryAfter } = verdict;
    if (why === null && held === this.#working && this.#ends(error)) return;
    const now = this.#clock.now();
    this.#ladder.lost(held.rung, why ?? "dropped", now, retryAfter);
    if (held === this.#working) {
      this.#working = null;
      const retryAt = Math.round(Date.now() + (this.#ladder.next?.at ?? now) - now);
      this.#condition.wait(error.detail, retryAt, this.#ladder.rung !== held.rung);
    } else this.#climbing = null;
    this.#schedule();
  }

  /** Whether an error that is final for all scans ends them: a token that has run out is asked for once more. @param {import("./errors.js").ScanError} error */
  #ends(error) {
    if (error.code === "unauthorized" && !this.#unauthorized && this.#rungs.renew()) {
      this.#unauthorized = true;
      return false;
    }
    for (const reader of [...this.#readers.values()]) {
      this.#readers.delete(reader.scanId);
      reader.fail(error);
    }
    this.#stop();
    this.#condition.tell({ state: "waiting", retryAt: null, reason: error.detail });
    return true;
  }
}

const FRAMES = new Set(["snapshot", "update", "end"]);
/** @returns {Verdict} */
const crowded = () => ({ error: new Unreachable("The browser has no connection to spare"), why: "crowded" });
