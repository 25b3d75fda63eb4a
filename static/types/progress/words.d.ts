/** What is to be known beside that: why it failed, and that prices are generated. @param {Plain} state @returns {string} */
export function remark(state: Plain): string;
/** How much was found. @param {Plain} state @returns {string} */
export function count({ progress, total_opportunities: total }: Plain): string;
/** When it will be over. @param {number | undefined} seconds @returns {string} */
export function remaining(seconds: number | undefined): string;
/** One strategy. @param {Plain} strategy @returns {string} */
export function outcome({ status, shards_completed: done, total_shards: total, opportunities_found: found, note, error }: Plain): string;
/** How the line to the server is. @param {Connection} connection @param {number} now by `Date.now()` @returns {string} */
export function line({ state, transport, retryAt, reason }: Connection, now: number): string;
export function standing(state: Plain): string;
export type Connection = import("../scanstream/line.js").Connection;
export type Plain = import("../scanstream/patch.js").Plain;
