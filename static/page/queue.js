/** The place of a scan in the queue. No frame tells it, as it changes with other scans: it is asked for while the scan waits. */

const REST_MS = 2000;
const PATIENCE_MS = 10_000;

export class Queue {
  #scanId = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {URL} home of the server
   * @param {(url: URL, more: RequestInit) => Promise<Response>} fetched
   * @param {(rank: number | undefined) => void} told 1 is the next; undefined where it waits no more
   */
  constructor(home, fetched, told) {
    this.home = home;
    this.fetched = fetched;
    this.told = told;
  }

  /** This scan waits; null: none does. @param {string | null} scanId */
  watch(scanId) {
    if ((scanId ?? "") === this.#scanId) return;
    this.#scanId = scanId ?? "";
    clearTimeout(this.#timer);
    this.told(undefined);
    if (scanId) this.#ask(scanId);
  }

  /** @param {string} scanId */
  async #ask(scanId) {
    const answer = document.hidden ? {} : await this.#answered(scanId);
    if (this.#scanId !== scanId) return;
    if (answer.rank !== undefined) this.told(answer.rank);
    this.#timer = setTimeout(() => this.#ask(scanId), answer.rest ?? REST_MS);
  }

  /** @param {string} scanId @returns {Promise<{ rank?: number, rest?: number }>} */
  async #answered(scanId) {
    try {
      const url = new URL(`opportunities/status/${encodeURIComponent(scanId)}`, this.home);
      const answer = await this.fetched(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
      const seconds = Number(answer.headers.get("Retry-After"));
      const rest = Math.max(REST_MS, Number.isFinite(seconds) ? 1000 * seconds : 0);
      return answer.ok ? { rank: (await answer.json()).rank, rest } : { rest };
    } catch {
      return {}; // that the server is away is said by the badge
    }
  }
}
