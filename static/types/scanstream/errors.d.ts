/** Every way to fail: `ScanError`, and the two that come from this side of the wire. */
/** @typedef {{ field: string, reason: string }} FieldError what is wrong with one field of a request */
/**
 * The server refused, or cannot be reached. `detail` is for people; `code` is one of docs/errors.md, or `unreachable`,
 * `closed`.
 */
export class ScanError extends Error {
    /**
     * @param {string} code
     * @param {string} detail
     * @param {object} [more]
     * @param {number} [more.status] of HTTP, also where the error came over a socket; absent where it came from no server
     * @param {FieldError[]} [more.errors]
     * @param {number} [more.retryAfter] seconds after which the same may succeed
     * @param {unknown} [more.cause]
     */
    constructor(code: string, detail: string, { status, errors, retryAfter, cause }?: {
        status?: number | undefined;
        errors?: FieldError[] | undefined;
        retryAfter?: number | undefined;
        cause?: unknown;
    });
    code: string;
    detail: string;
    status: number | undefined;
    errors: FieldError[];
    retryAfter: number | undefined;
}
/** No answer in the time that was given; a request with the same idempotency key may be made again. */
export class Unreachable extends ScanError {
    /** @param {string} detail @param {{ cause?: unknown, status?: number, retryAfter?: number }} [more] */
    constructor(detail: string, more?: {
        cause?: unknown;
        status?: number;
        retryAfter?: number;
    });
}
/** The scan or its client was closed on this side; the scan itself goes on. */
export class Closed extends ScanError {
    /** @param {string} [detail] */
    constructor(detail?: string);
}
/**
 * what is wrong with one field of a request
 */
export type FieldError = {
    field: string;
    reason: string;
};
