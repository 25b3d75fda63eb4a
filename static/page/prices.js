/** The prices of symbols: asked for once each, a few at a time, and only for what is looked at. */

/** @typedef {import("./sparkline.js").Candle} Candle */

const BARS = 60;
const AT_ONCE = 2;
const MOST_HELD = 512;
const KEPT_MS = 300_000;
const AGAIN_MS = 10_000;
const PATIENCE_MS = 10_000;

export class Prices {
  /** @type {Map<string, { until: number, candles: Candle[] }>} what came first is first */
  #held = new Map();
  /** @type {string[]} those whose prices are to be asked for, in this order */
  #wanted = [];
  /** @type {Map<string, Promise<Candle[]>>} */
  #asked = new Map();
  /** The symbols that have prices: quotes may be of others. Nobody is asked for before they are known. @type {Set<string>} */
  #known = new Set();

  /**
   * @param {URL} url the route of candles
   * @param {(url: URL, more: RequestInit) => Promise<Response>} fetched
   * @param {() => void} arrived called when there are more prices
   */
  constructor(url, fetched, arrived) {
    this.url = url;
    this.fetched = fetched;
    this.arrived = arrived;
  }

  /** @param {string[]} symbols those that the market has */
  know(symbols) {
    this.#known = new Set(symbols);
    this.arrived();
  }

  /** The prices of a symbol where they are held; none (an empty list) where the server has none. @param {string} symbol */
  held(symbol) {
    if (this.#known.size && !this.#known.has(symbol)) return [];
    const held = this.#held.get(symbol);
    return held && performance.now() < held.until ? held.candles : undefined;
  }

  /** These symbols are looked at, and those that were before are not any more. @param {Iterable<string>} symbols */
  look(symbols) {
    this.#wanted = [...symbols].filter((symbol) => this.#known.has(symbol) && !this.held(symbol) && !this.#asked.has(symbol));
    this.#next();
  }

  /** The prices of one symbol, before others. @param {string} symbol @returns {Promise<Candle[]>} */
  async of(symbol) {
    return this.held(symbol) ?? this.#ask(symbol);
  }

  #next() {
    while (this.#asked.size < AT_ONCE) {
      const symbol = this.#wanted.shift();
      if (symbol === undefined) return;
      this.#ask(symbol).then(this.arrived);
    }
  }

  /** @param {string} symbol */
  #ask(symbol) {
    const under = this.#asked.get(symbol);
    if (under) return under;
    const answer = this.#fetched(symbol).then(({ candles, kept }) => {
      this.#asked.delete(symbol);
      this.#held.delete(symbol);
      this.#held.set(symbol, { until: performance.now() + kept, candles });
      const [oldest] = this.#held.keys();
      if (this.#held.size > MOST_HELD) this.#held.delete(oldest);
      this.#next();
      return candles;
    });
    this.#asked.set(symbol, answer);
    return answer;
  }

  /** @param {string} symbol @returns {Promise<{ candles: Candle[], kept: number }>} */
  async #fetched(symbol) {
    const url = new URL(this.url);
    url.search = new URLSearchParams({ symbol, bars: String(BARS) }).toString();
    try {
      const answer = await this.fetched(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
      if (answer.ok) return { candles: (await answer.json()).candles, kept: KEPT_MS };
      return { candles: [], kept: answer.status < 500 && answer.status !== 429 ? KEPT_MS : AGAIN_MS };
    } catch {
      return { candles: [], kept: AGAIN_MS }; // that the server is away is said by the badge; the row has no line yet
    }
  }
}
