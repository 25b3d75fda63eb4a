/**
 * scanstream: follow scans from a browser or from Node. docs/javascript.md shows how.
 *
 *     import { Client } from "/static/scanstream.js";
 *     const scan = await new Client().discover({ strategy_ids: ["tsmom"] });
 *     for await (const { state, opportunities } of scan) console.log(state.progress.percentage, opportunities);
 */

export { Client } from "./scanstream/client.js";
export { Closed, ScanError, Unreachable } from "./scanstream/errors.js";
export { Ladder } from "./scanstream/ladder.js";
export { Mirror } from "./scanstream/mirror.js";
export { diff, merge } from "./scanstream/patch.js";
export { Scan } from "./scanstream/scan.js";

/** @typedef {import("./scanstream/line.js").Connection} Connection */
/** @typedef {import("./scanstream/surroundings.js").Options} Options */
/** @typedef {import("./scanstream/updates.js").Update} Update */
