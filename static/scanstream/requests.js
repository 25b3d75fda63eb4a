/** Questions over HTTP: one answer each, or how it was lost. */

import { ofHttp } from "./answers.js";
import { pause, retryAfterOf, SHORTEST_MS } from "./backoff.js";
import { deadline, wait } from "./clock.js";
import { Closed, ScanError, Unreachable } from "./errors.js";
import { Pace } from "./pace.js";
import { isObject } from "./patch.js";

/** @typedef {import("./answers.js").Verdict} Verdict */
/** @typedef {import("./surroundings.js").Surroundings} Surroundings */
/**
 * @typedef {object} Question
 * @property {string} [method]
 * @property {Record<string, string>} [headers]
 * @property {unknown} [body] sent as JSON
 * @property {AbortSignal} [signal]
 * @property {readonly string[]} [needs] without these fields it is no answer of ours; none: a list is
 */
/** @typedef {{ signal?: AbortSignal, timeout?: number }} Patience `timeout` in milliseconds */

/** How long an answer may take to begin. */
export const ANSWER_MS = 10_000;
/** How long a caller's question is tried, unless it says. */
export const TIMEOUT_MS = 10_000;
/** Of that time: an answer that has not come by then may be lost on the way, and is asked for once more. */
const SHARE = 0.6;
/** Between an attempt that met nothing and the question whether the server is there. */
const LOOK_MS = 300;
/** An answer this young says that the server is there. */
const FRESH_MS = 1000;
/** One before an attempt, and this young, says that the server was there when the attempt failed, if it is there now. */
const KNOWN_MS = 10_000;
/** What proxies say for a server that is away. */
const GATEWAY = new Set([502, 503, 504]);

/** An attempt that brought no answer of ours; it may be made again unless the verdict is final. */
export class Lost extends Error {
  /** @param {Verdict} verdict */
  constructor(verdict) {
    super(verdict.error.detail, { cause: verdict.error });
    this.verdict = verdict;
  }
}

export class Requests {
  #around;
  #answeredAt = -Infinity;

  /** @param {Surroundings} around */
  constructor(around) {
    this.#around = around;
  }

  /**
   * The JSON of a successful answer. One 401 makes a token be asked for anew.
   * @param {string} path below the server's address
   * @param {Question & { timeout?: number }} [question]
   * @returns {Promise<{ status: number, headers: Headers, body: any }>} `body` is null where there is none (304)
   * @throws {Lost} or what the signal says
   */
  async json(path, question = {}) {
    const { clock } = this.#around;
    const text = question.body === undefined ? undefined : JSON.stringify(question.body);
    const limit = deadline(clock, question.timeout ?? ANSWER_MS, question.signal);
    try {
      const response = await this.answer(path, { ...question, text, signal: limit.signal });
      const { status, headers } = response;
      const body = await jsonOf(response);
      if (status === 304) return { status, headers, body: null };
      if (response.ok && isOurs(body, question.needs)) return { status, headers, body };
      throw new Lost(ofHttp(status, body, retryAfterOf(headers)));
    } catch (error) {
      if (question.signal?.aborted) throw question.signal.reason;
      if (error instanceof Lost) throw error;
      throw this.#lost(error, limit.over.reached);
    } finally {
      limit.done();
    }
  }

  /**
   * The answer as it comes, also one that refuses.
   * @param {string} path
   * @param {Omit<Question, "body"> & { text?: string }} question `text`: its body, in JSON
   * @returns {Promise<Response>}
   */
  async answer(path, { method = "GET", headers = {}, text, signal }) {
    const { clock, url, fetch, token } = this.#around;
    for (let again = token.renewable; ; again = false) {
      const credential = await token.get().catch(noToken);
      const response = await fetch(new URL(path, url), {
        method,
        headers: {
          ...headers,
          ...(credential ? { Authorization: `Bearer ${credential}` } : {}),
          ...(text === undefined ? {} : { "Content-Type": "application/json" }),
        },
        body: text,
        redirect: "manual", // elsewhere is no server of ours; a POST would become a GET on the way
        signal,
      });
      if (!GATEWAY.has(response.status)) this.#answeredAt = clock.now();
      if (response.status !== 401 || !again) return response;
      token.forget();
      await response.body?.cancel();
      await wait(clock, SHORTEST_MS, signal);
    }
  }

  /**
   * Tried until there is an answer, or an error that lasts.
   * @param {string} path
   * @param {Question & Patience} question
   */
  async patiently(path, { timeout = TIMEOUT_MS, ...question }) {
    const { clock, random } = this.#around;
    const until = clock.now() + timeout;
    const pace = new Pace(clock);
    const after = Math.max(SHORTEST_MS, SHARE * timeout);
    for (let failures = 1; ; failures += 1) {
      try {
        return await this.#soonest(path, { ...question, timeout: Math.min(ANSWER_MS, until - clock.now()), pace }, after);
      } catch (error) {
        if (!(error instanceof Lost)) throw error;
        const { verdict } = error;
        if (verdict.why === null) throw verdict.error;
        const now = clock.now();
        const next = pace.due(now + pause(failures, random, verdict.retryAfter));
        await wait(clock, Math.min(next, until) - now, question.signal);
        if (next >= until) throw inVain(verdict.error, timeout);
      }
    }
  }

  /** Whether the server was there not long before a time. @param {number} at */
  knownAt(at) {
    return this.#answeredAt > at - KNOWN_MS;
  }

  /**
   * The first answer to one question, or to the same asked once more beside it, after a while.
   * @param {string} path
   * @param {Question & { timeout: number, pace: Pace }} question
   * @param {number} after
   */
  async #soonest(path, { signal, pace, ...question }, after) {
    const either = new AbortController();
    const leave = () => either.abort(signal?.reason);
    if (signal?.aborted) leave();
    signal?.addEventListener("abort", leave, { once: true });
    try {
      pace.began();
      const first = this.json(path, { ...question, signal: either.signal });
      const late = wait(this.#around.clock, after, either.signal).then(() => null);
      const answer = await Promise.race([first, late]);
      if (answer) return answer;
      const timeout = Math.max(0, question.timeout - after);
      pace.began();
      return await Promise.any([first, this.json(path, { ...question, timeout, signal: either.signal })]);
    } catch (error) {
      throw error instanceof AggregateError ? error.errors.at(-1) : error;
    } finally {
      signal?.removeEventListener("abort", leave);
      either.abort(new Closed());
    }
  }

  /**
   * How an attempt was lost that did not even begin: whether nobody is there, or somebody does not like it.
   * @param {AbortSignal} signal
   * @returns {Promise<boolean>} whether the server is away
   */
  async away(signal) {
    const { clock } = this.#around;
    if (clock.now() - this.#answeredAt < FRESH_MS) return false;
    await wait(clock, LOOK_MS, signal);
    const limit = deadline(clock, ANSWER_MS, signal);
    try {
      const response = await this.answer("healthz", { signal: limit.signal });
      await response.body?.cancel();
      return GATEWAY.has(response.status);
    } catch {
      this.#answeredAt = -Infinity;
      return true;
    } finally {
      limit.done();
      await wait(clock, SHORTEST_MS, signal);
    }
  }

  /** @param {unknown} error what `fetch` said @param {boolean} late @returns {Lost} */
  #lost(error, late) {
    const { url } = this.#around;
    const detail = late ? `${url.host} does not answer` : `There is no connection to ${url.host}`;
    const why = late ? "silent" : refused(error) ? "refused" : "dropped";
    return new Lost({ error: new Unreachable(detail, { cause: error }), why });
  }
}

/** Whether nobody listens there: Node says so, browsers do not. @param {any} error @returns {boolean | undefined} */
export function refused(error) {
  const causes = [error, error?.cause, ...(error?.cause?.errors ?? [])];
  const codes = causes.map((cause) => cause?.code).filter((code) => typeof code === "string");
  return codes.length ? codes.includes("ECONNREFUSED") : undefined;
}

/** @param {unknown} error @returns {never} */
function noToken(error) {
  throw new Lost({ error: new Unreachable(`There is no token to be had (${error})`, { cause: error }), why: "dropped" });
}

/** Whether a scanstream server may have said so. @param {any} body @param {readonly string[]} [needs] */
const isOurs = (body, needs) =>
  needs ? isObject(body) && needs.every((name) => Object.hasOwn(body, name)) : Array.isArray(body);

/** The body as JSON; null where it is none. @param {Response} response @returns {Promise<any>} */
export async function jsonOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return null; // a proxy's page
  }
}

/**
 * The error for a caller whose time is over; a refusal that passes, and has not passed in time, is its cause.
 * @param {ScanError} last
 * @param {number} timeout
 */
function inVain(last, timeout) {
  const { status, retryAfter } = last;
  const cause = last.code === "unreachable" ? last.cause ?? last : last;
  return new Unreachable(`${last.detail}; tried for ${timeout / 1000} s`, { cause, status, retryAfter });
}
