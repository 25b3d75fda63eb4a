/** The rungs by name, and how an attempt on each is made. */

import { Unreachable } from "./errors.js";
import { LongPollAttempt } from "./longpoll.js";
import { Pace } from "./pace.js";
import { PollAttempt } from "./poll.js";
import { StreamAttempt } from "./stream.js";
import { WebSocketAttempt } from "./websocket.js";

/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./attempt.js").Followed} Followed */
/** @typedef {import("./attempt.js").Report} Report */
/** @typedef {import("./attempt.js").Tools} Tools */
/** @typedef {import("./requests.js").Requests} Requests */
/** @typedef {import("./room.js").Room} Room */
/** @typedef {import("./surroundings.js").Surroundings} Surroundings */

/**
 * `crowds`: whether it keeps one of the few connections that a browser has to an origin. `answers`: whether each question
 * brings a frame, news or not.
 * @type {Record<string, { crowds: boolean, answers: boolean, make: (tools: Tools, report: Report) => Attempt }>}
 */
export const RUNG = {
  websocket: { crowds: false, answers: false, make: (tools, report) => new WebSocketAttempt(tools, report) },
  stream: { crowds: true, answers: false, make: (tools, report) => new StreamAttempt(tools, report) },
  longpoll: { crowds: true, answers: false, make: (tools, report) => new LongPollAttempt(tools, report) },
  poll: { crowds: false, answers: true, make: (tools, report) => new PollAttempt(tools, report) },
};

export class Rungs {
  #around;
  #requests;
  #room;
  /** @type {Map<string, Tools>} */
  #tools = new Map();
  best;

  /**
   * @param {Surroundings} around
   * @param {Requests} requests
   * @param {Room} room
   * @param {readonly string[]} transports
   */
  constructor(around, requests, room, transports) {
    this.#around = around;
    this.#requests = requests;
    this.#room = room;
    this.best = transports[0];
  }

  /** @param {string} rung @param {Report} report @returns {Attempt} */
  open(rung, report) {
    const fresh = () => ({
      around: this.#around,
      requests: this.#requests,
      pace: new Pace(this.#around.clock),
      history: { opened: false },
    });
    const tools = this.#tools.get(rung) ?? fresh();
    this.#tools.set(rung, tools);
    const { crowds, make } = RUNG[rung];
    return crowds ? new RoomyAttempt(this.#room, report, (inside) => make(tools, inside)) : make(tools, report);
  }

  /** Whether there may be another token; it is asked for with the next attempt. */
  renew() {
    this.#around.token.forget();
    return this.#around.token.renewable;
  }
}

/**
 * An attempt that is begun only where there is a connection to spare, and gives it back.
 * @implements {Attempt}
 */
class RoomyAttempt {
  /** @type {Attempt | null} */
  #inside = null;
  #closed = false;
  /** @type {readonly Followed[]} */
  #followed = [];
  #free = () => {};

  /** @param {Room} room @param {Report} report @param {(report: Report) => Attempt} make */
  constructor(room, report, make) {
    void this.#begin(room, report, make);
  }

  /** @param {readonly Followed[]} followed */
  follow(followed) {
    this.#followed = followed;
    this.#inside?.follow(followed);
  }

  check() {
    this.#inside?.check();
  }

  close() {
    this.#closed = true;
    this.#inside?.close();
    this.#free();
  }

  /** @param {Room} room @param {Report} report @param {(report: Report) => Attempt} make */
  async #begin(room, report, make) {
    const free = await room.take().catch(() => null);
    if (this.#closed) return free?.();
    if (!free) return report.lost({ error: new Unreachable("The browser has no connection to spare"), why: "crowded" });
    this.#free = free;
    this.#inside = make(report);
    this.#inside.follow(this.#followed);
  }
}
