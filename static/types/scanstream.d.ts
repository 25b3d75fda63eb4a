export { Client } from "./scanstream/client.js";
export { Ladder } from "./scanstream/ladder.js";
export { Mirror } from "./scanstream/mirror.js";
export { Scan } from "./scanstream/scan.js";
export type Connection = import("./scanstream/line.js").Connection;
export type Options = import("./scanstream/surroundings.js").Options;
export type Update = import("./scanstream/updates.js").Update;
export { Closed, ScanError, Unreachable } from "./scanstream/errors.js";
export { diff, merge } from "./scanstream/patch.js";
