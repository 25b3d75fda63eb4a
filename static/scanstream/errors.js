/** Every way to fail: `ScanError`, and the two that come from this side of the wire. */

/** @typedef {{ field: string, reason: string }} FieldError what is wrong with one field of a request */

/**
 * The server refused, or cannot be reached. `detail` is for people; `code` is one of docs/errors.md, or `unreachable`,
 * `closed`.
 */
export class ScanError extends Error {
  name = "ScanError";

  /**
   * @param {string} code
   * @param {string} detail
   * @param {object} [more]
   * @param {number} [more.status] of HTTP, also where the error came over a socket; absent where it came from no server
   * @param {FieldError[]} [more.errors]
   * @param {number} [more.retryAfter] seconds after which the same may succeed
   * @param {unknown} [more.cause]
   */
  constructor(code, detail, { status, errors = [], retryAfter, cause } = {}) {
    super(detail, cause === undefined ? undefined : { cause });
    this.code = code;
    this.detail = detail;
    this.status = status;
    this.errors = errors;
    this.retryAfter = retryAfter;
  }
}

/** No answer in the time that was given; a request with the same idempotency key may be made again. */
export class Unreachable extends ScanError {
  name = "Unreachable";

  /** @param {string} detail @param {{ cause?: unknown, status?: number, retryAfter?: number }} [more] */
  constructor(detail, more) {
    super("unreachable", detail, more);
  }
}

/** The scan or its client was closed on this side; the scan itself goes on. */
export class Closed extends ScanError {
  name = "Closed";

  /** @param {string} [detail] */
  constructor(detail = "Closed on this side; the scan goes on, and watch() follows it again") {
    super("closed", detail);
  }
}
