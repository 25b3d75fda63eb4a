/** Every code that a refusal may have. */
import { h } from "../page/dom.js";
import { table } from "./parts.js";

/** @typedef {import("./parts.js").Plain} Plain */

const CODE = /`(\w+)`: ([^;]+)/g;

/** @param {Plain} openapi */
export function errors(openapi) {
  /** @type {Map<string, [string, string]>} */
  const codes = new Map();
  for (const [name, told] of Object.entries(openapi.components.responses))
    for (const [, code, title] of told.description.matchAll(CODE)) codes.set(code, [name.replace("Refused", ""), title]);
  for (const methods of Object.values(openapi.paths))
    for (const operation of Object.values(methods))
      for (const status of ["404", "410"])
        for (const [, code, title] of (operation.responses[status]?.description ?? "").matchAll(CODE)) codes.set(code, [status, title]);
  const rows = [...codes].sort(([, [one]], [, [other]]) => one.localeCompare(other));
  return table(
    "Codes",
    ["Status", "Code", "Meaning"],
    rows.map(([code, [status, title]]) => [h("code", {}, status), h("code", {}, code), title]),
  );
}
