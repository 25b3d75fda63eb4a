/**
 * What became of a scan: as its status, but a complete one without the outcome of some strategies is `partial`.
 * @param {Plain} state
 * @returns {Verdict}
 */
export function verdict(state: Plain): Verdict;
/** How it stands: `Scanning`, `Partly complete`. @param {Plain} state @returns {string} */
export function standing(state: Plain): string;
/** Over what a live connection comes: `Live`, `Live, slower: event stream`. @param {string | null} transport @returns {string} */
export function liveness(transport: string | null): string;
export function spoken(name: string): string;
export function lacking({ strategies }: Plain): string[];
export function outcome({ status }: Plain): string;
export type Plain = import("./patch.js").Plain;
export type Verdict = "scanning" | "complete" | "partial" | "failed" | "cancelled";
