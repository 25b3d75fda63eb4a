/**
 * One scan as it is followed: its mirror, and whoever wants to know of news. All `Scan`s of a client that are of it share
 * it, whatever part of it each wants.
 */

import { Mirror } from "./mirror.js";

/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./errors.js").ScanError} ScanError */
/** @typedef {import("./patch.js").Plain} Plain */

export class Reader {
  /** The id by which the server knows it. */
  scanId;
  only;
  mirror;
  /** How attempts ask for it; another one is to be asked for anew. @type {Followed} */
  followed;
  /** What ended it but the end. @type {ScanError | null} */
  error = null;
  /** Counts the news. */
  version = 0;
  /** Those that share it. @type {Set<() => void>} */
  #watchers = new Set();

  /**
   * @param {string} scanId
   * @param {"state" | undefined} only
   * @param {Mirror} [mirror] what is held already
   */
  constructor(scanId, only, mirror = new Mirror()) {
    this.scanId = scanId;
    this.only = only;
    this.mirror = mirror;
    this.followed = this.#asked();
  }

  /** Whether nothing more will come, for whatever reason. */
  get over() {
    return this.mirror.ended || this.error !== null;
  }

  /** Whether all from there on is held, or comes. @param {"state" | undefined} only @param {number} start */
  covers(only, start) {
    return only === "state" || (this.only === undefined && (this.mirror.lacking || start >= this.mirror.base));
  }

  /** Somebody wants all of what is held in part. */
  widen() {
    this.only = undefined;
    this.mirror.lacking = true;
    this.followed = this.#asked();
  }

  /** How many share it. */
  get shared() {
    return this.#watchers.size;
  }

  /** @param {() => void} call after each news @returns {() => void} to be called when that is over */
  watch(call) {
    this.#watchers.add(call);
    return () => void this.#watchers.delete(call);
  }

  /**
   * Take a frame.
   * @param {Plain} frame
   * @returns {boolean} whether there is something to tell
   * @throws {import("./mirror.js").GapError}
   */
  take(frame) {
    const { cursor: before, lacking } = this.mirror;
    if (this.over || !this.mirror.apply(frame)) return false;
    const news = this.mirror.cursor !== before || this.mirror.lacking !== lacking || this.over;
    if (news) this.version += 1;
    return news;
  }

  /** Nothing more will come, and this is why. @param {ScanError} error */
  fail(error) {
    if (this.over) return;
    this.error = error;
    this.version += 1;
    this.tell();
  }

  /** Of what was taken. */
  tell() {
    for (const call of [...this.#watchers]) call();
  }

  /** @returns {Followed} */
  #asked() {
    const reader = this;
    return {
      scanId: this.scanId,
      only: this.only,
      get cursor() {
        return reader.mirror.lacking ? null : reader.mirror.cursor;
      },
      get over() {
        return reader.over;
      },
    };
  }
}
