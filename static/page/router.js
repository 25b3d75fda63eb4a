/** Which scan the address names: `#scan_…`, or `#latest`. So a reload, a link and the way back lead to a scan. */

/** Behind the name there may be a token, which opens the scan: see access.js. */
const SCAN = /^#(scan_[\w-]+|latest)(?:&token=[^&]*)?$/;

export class Router {
  /** @param {(scanId: string | null) => void} show */
  constructor(show) {
    this.show = show;
    addEventListener("hashchange", () => this.show(this.named));
  }

  /** @returns {string | null} */
  get named() {
    return SCAN.exec(location.hash)?.[1] ?? null;
  }

  /** Whether the address names something that is no scan. */
  get strange() {
    return location.hash.length > 1 && this.named === null;
  }

  /** Another scan is on show, and the way back leads to the one before. @param {string} scanId */
  go(scanId) {
    if (this.named !== scanId) history.pushState(null, "", `#${scanId}`);
  }

  /** The scan on show has its real name: `latest` was one for now. @param {string} scanId */
  settle(scanId) {
    if (this.named !== scanId) history.replaceState(history.state, "", `#${scanId}`);
  }
}

/** The address of a scan, to be sent to somebody. @param {string} scanId @param {string} [token] that opens it */
export const link = (scanId, token) => new URL(`#${scanId}${token ? `&token=${token}` : ""}`, location.href).href;
