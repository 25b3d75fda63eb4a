/** The page: binds its parts to a client, and to the scan that the address names. */
import { Client } from "../scanstream.js";
import { Announcer } from "./announce.js";
import { Badge } from "./badge.js";
import { element, tell, write } from "./dom.js";
import { Form } from "./form.js";
import { Router } from "./router.js";
import { Scans } from "./scans.js";
import { View } from "./view.js";
import { plural, reason } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */

const AGAIN_MS = 3000;
const NARROW = "(max-width: 64rem)";

const home = new URL("../../", import.meta.url);
const client = new Client(home.href);
const announcer = new Announcer(element("told"));
const badge = new Badge(element("badge"), client, announcer);
const form = new Form(element("form"), (request) => start(request));
const view = new View(element("view"), {
  announcer,
  candles: new URL("opportunities/market/candles", home),
  repeat: (request) => start(request),
  change,
  news,
});
const scans = new Scans(
  { list: element("scans-list"), state: element("scans-state"), older: element("older") },
  (page) => client.scans(page),
  {
    repeat: (request) => start(request),
    heard: (trouble) => badge.heard(trouble),
    cancel,
  },
);
const router = new Router((scanId) => {
  show(scanId);
  if (scanId !== null) bring(element("shown"));
});
/** @type {AbortController | null} the start that is under way */
let starting = null;
let ended = "";

/** Another scan, or none, is on show. @param {string | null} scanId */
function show(scanId) {
  notice("");
  if (scanId === null) {
    view.leave();
    badge.follows(false);
    element("nothing").hidden = false;
    document.title = "scanstream";
    scans.current(null);
    return;
  }
  if (matchMedia(NARROW).matches) element("start-more").open = false;
  follow(client.watch(scanId), scanId);
}

/** @param {any} scan @param {string} named in the address */
async function follow(scan, named) {
  element("nothing").hidden = true;
  view.follow(scan);
  badge.follows(true);
  scans.current(named);
  try {
    await scan.done;
  } catch (error) {
    if (/** @type {any} */ (error).code === "closed") return; // another one is on show
    lost(error);
  }
  if (view.shows(scan)) badge.follows(false);
}

/** The scan on show is not to be had. @param {any} error */
function lost(error) {
  const gone = ["not_found", "expired"].includes(error.code) || [404, 410].includes(error.status);
  if (!view.state) element("nothing").hidden = false;
  notice(gone ? `${reason(error)} Start a new one, or open one of the list.` : reason(error), "error");
}

/** @param {Plain} request */
async function start(request) {
  if (starting) return;
  const abort = (starting = new AbortController());
  busy(true);
  notice("");
  try {
    const scan = await client.discover(request, { signal: abort.signal });
    router.go(scan.id);
    if (matchMedia(NARROW).matches) element("start-more").open = false;
    follow(scan, scan.id);
    bring(element("shown"));
    scans.refresh();
  } catch (error) {
    if (!abort.signal.aborted) form.refused(error);
  } finally {
    starting = null;
    busy(false);
  }
}

/** Into sight, and whoever reads by ear or works by keys is there, too. @param {HTMLElement} section */
function bring(section) {
  section.focus({ preventScroll: true });
  const { top } = section.getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) section.scrollIntoView();
}

/** @param {boolean} is */
function busy(is) {
  element("go").disabled = is;
  write(element("go"), is ? "Starting …" : "Scan");
  element("give-up").hidden = !is;
}

/** A scan's settings are put into the form. @param {Plain} request */
function change(request) {
  form.set(request);
  element("start-more").open = true;
  element("symbols").focus();
}

/** The scan on show has news. @param {Plain} state */
function news(state) {
  router.settle(state.scan_id);
  scans.current(state.scan_id);
  scans.hear(state);
  market(state.market);
  if (state.status === "scanning" || ended === state.scan_id) return;
  ended = state.scan_id;
  scans.refresh();
}

/** What is scanned, and whether it is made up. @param {string} name */
function market(name) {
  if (document.documentElement.dataset.market !== name) document.documentElement.dataset.market = name;
}

/** @param {string} text @param {string} [kind] */
const notice = (text, kind = "") => tell(element("notice"), text, kind);

/** A scan that is not on show. @param {string} scanId */
async function cancel(scanId) {
  const scan = client.watch(scanId, { only: "state" });
  try {
    return await scan.cancel();
  } finally {
    scan.close();
  }
}

/** Asks until it is answered, and says meanwhile why it is not. @param {() => Promise<void>} ask @param {Element} place @param {string} what */
async function insist(ask, place, what) {
  try {
    await ask();
  } catch (error) {
    write(place, `${what} are not to be had: ${reason(error)}. They are asked for again.`);
    setTimeout(() => insist(ask, place, what), AGAIN_MS);
  }
}

element("give-up").addEventListener("click", () => starting?.abort());
element("try-now").addEventListener("click", () => {
  client.reconnect();
  scans.refresh();
});
addEventListener("error", (event) => notice(`This page has met a defect of its own: ${event.message}. Load it again.`, "error"));
addEventListener("unhandledrejection", (event) => notice(`This page has met a defect of its own: ${reason(event.reason)}. Load it again.`, "error"));
setInterval(() => {
  view.tick();
  badge.draw();
}, 1000);

insist(async () => form.offer(await client.strategies()), element("strategies-state"), "The strategies");
insist(async () => {
  const listed = await client.market();
  form.symbols.offer(listed.symbols);
  form.strategies.lacking(listed.has);
  view.prices.know(listed.symbols);
  market(listed.market);
  write(element("market"), `${listed.market} · ${plural(listed.symbols.length, "symbol")} · ${listed.timeframe}`);
}, element("market"), "The symbols");
scans.refresh();
show(router.named);
