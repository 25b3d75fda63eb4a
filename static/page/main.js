/** The page: binds its parts to a client, and to the scan that the address names. */
import { Client } from "../scanstream.js";
import { Access } from "./access.js";
import { Announcer } from "./announce.js";
import { Badge } from "./badge.js";
import { element, mark, still, tell, write } from "./dom.js";
import { Form } from "./form.js";
import * as market from "./market.js";
import { Router } from "./router.js";
import { Scans } from "./scans.js";
import { View } from "./view.js";
import { clock, reason } from "./words.js";

/** @typedef {import("./words.js").Plain} Plain */

const AGAIN_MS = 3000;
/** The market may have gone on since it was asked for. */
const STALE_MS = 60_000;
/** What an absent scan means for whoever looks at this page. @type {Record<string, string>} */
const WORDS = {
  not_found: "No scan found: its link may be cut off, or of another server, or this server has lost its data.",
  unauthorized: "This server does not know you.",
  expired: "This scan has expired: what has ended is kept for a while only.",
};
const LATEST = "latest";
const NARROW = "(max-width: 64rem)";

const home = new URL("../../", import.meta.url);
const access = new Access(home, {
  asked: () => badge.asks(true),
  entered: () => {
    badge.asks(false);
    begin();
  },
});
const client = new Client(home.href, { token: access.token, fetch: access.fetch });
const announcer = new Announcer(element("told"));
const badge = new Badge(element("badge"), client, announcer);
const form = new Form(element("form"), (request) => start(request));
const view = new View(element("view"), {
  announcer,
  home,
  access,
  repeat: (request) => start(request),
  change,
  news,
});
const scans = new Scans(
  { list: element("scans-list"), state: element("scans-state"), older: element("older") },
  (page) => (alone() ? Promise.resolve([]) : client.scans(page)),
  {
    repeat: (request) => start(request),
    heard: (trouble) => badge.heard(trouble),
    cancel,
  },
);
const router = new Router((scanId) => {
  if (access.asks) return; // whoever signs in is shown what the address names then
  show(scanId);
  if (scanId !== null) bring(element("shown"));
});
/** @type {AbortController | null} the start that is under way */
let starting = null;
/** A request that nobody has answered: made again it has the same key, as it may have started a scan all the same. */
let unanswered = { text: "", key: "" };
let ended = "";
/** When the server was asked for its market, by a clock that nobody sets. */
let learned = -Infinity;
/** The scan that has told of itself last. */
let heard = "";
/** What was shown when a scan was refused for it last. @type {string | null} */
let doubted = null;
/** By what name the scan on show was asked for. @type {string | null} */
let named = null;

/** Another scan, or none, is on show. @param {string | null} scanId */
function show(scanId) {
  notice("");
  named = scanId;
  if (scanId === null) {
    view.leave();
    market.shown("");
    badge.follows(false);
    element("nothing").hidden = false;
    scans.current(null);
    if (router.strange) notice("This address names no scan: it may have been cut off. Start a scan, or open one of the list.", "error");
    return;
  }
  if (matchMedia(NARROW).matches) element("start-more").open = false;
  follow(client.watch(scanId), scanId);
}

/** @param {any} scan @param {string} name in the address */
async function follow(scan, name) {
  named = name;
  element("nothing").hidden = true;
  view.follow(scan);
  badge.follows(true);
  scans.current(name);
  try {
    await scan.done;
  } catch (error) {
    if (/** @type {any} */ (error).code === "closed") return; // another one is on show
    await lost(error);
  }
  if (view.shows(scan)) badge.follows(false);
}

/** Whether there is no list, as nobody has signed in, or somebody sees one scan only. */
const alone = () => access.asks || access.shared;

/** The scan on show is not to be had. @param {any} error */
async function lost(error) {
  if (error.code === "unauthorized" && !access.asks) {
    const again = doubted !== access.token();
    doubted = access.token();
    if (again && (await access.holds())) return show(router.named);
    access.refused();
  }
  if (access.asks) return;
  const gone = ["not_found", "expired"].includes(error.code) || [404, 410].includes(error.status);
  const why = WORDS[error.code] ?? reason(error);
  if (view.state) view.lose(`What is shown here is as of ${clock(Date.now())}.`);
  else element("nothing").hidden = false;
  notice(gone ? `${why} Start a new one, or open one of the list.` : why, "error"); // an alert: it is read aloud
}

/** @param {Plain} request */
async function start(request) {
  if (starting) return;
  const abort = (starting = new AbortController());
  busy(true);
  notice("");
  const text = JSON.stringify(request);
  if (unanswered.text !== text) unanswered = { text, key: newKey() };
  try {
    const scan = await client.discover(request, { signal: abort.signal, idempotencyKey: unanswered.key });
    unanswered.text = "";
    router.go(scan.id);
    if (matchMedia(NARROW).matches) element("start-more").open = false;
    follow(scan, scan.id);
    bring(element("shown"));
    scans.refresh();
  } catch (error) {
    if (abort.signal.aborted) return;
    if (access.asks) return;
    if (/** @type {any} */ (error).code !== "unreachable") unanswered.text = "";
    form.refused(error);
  } finally {
    starting = null;
    busy(false);
  }
}

/** Random also where there is no secure context, and so no `randomUUID`. */
const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Into sight, and whoever reads by ear or works by keys is there, too. @param {HTMLElement} section */
function bring(section) {
  section.focus({ preventScroll: true });
  const { top } = section.getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) section.scrollIntoView();
}

/** @param {boolean} is */
function busy(is) {
  still(element("go"), is);
  write(element("go"), is ? "Starting …" : "Start scan");
  if (!is && document.activeElement === element("give-up")) element("go").focus(); // what is hidden loses the focus
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
  if (named === LATEST && router.named === LATEST) router.settle((named = state.scan_id)); // the address may name another by now
  scans.current(state.scan_id);
  scans.hear(state);
  market.shown(state.market);
  if (heard !== state.scan_id) relearn(market.isOther(state.market));
  heard = state.scan_id;
  if (state.status === "scanning" || ended === state.scan_id) return;
  ended = state.scan_id;
  scans.refresh();
}

/** @param {string} message */
const defect = (message) => notice(`This page has met a defect of its own: ${message}. Load it again; scans go on meanwhile.`, "error");

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

/** What is scanned. */
async function learn() {
  learned = performance.now();
  const listed = await client.market();
  form.symbols.offer(listed.symbols);
  form.strategies.lacking(listed.has);
  view.prices.know(listed.symbols);
  market.show(listed, { line: element("market"), facts: element("market-facts"), card: element("market-card") });
}

/** The market is asked for again, where it may be another one by now. @param {boolean} [surely] */
function relearn(surely = false) {
  if (alone()) return;
  if (surely || performance.now() - learned > STALE_MS) learn().catch(() => {}); // what is known stays; how the server is the badge says
}

/** Asks until it is answered, and says meanwhile why it is not. @param {() => Promise<void>} ask @param {Element} place @param {string} what */
async function insist(ask, place, what) {
  try {
    await ask();
  } catch (error) {
    if (access.asks) return access.then(() => insist(ask, place, what));
    write(place, `${what} are not to be had: ${reason(error)}. They are asked for again.`);
    setTimeout(() => insist(ask, place, what), AGAIN_MS);
  }
}

element("give-up").addEventListener("click", () => starting?.abort());
element("try-now").addEventListener("click", () => {
  client.reconnect();
  scans.refresh();
});
addEventListener("error", ({ error, filename, message }) => {
  if (error && filename.startsWith(home.href)) defect(message); // else it is of an extension, or of no consequence
});
addEventListener("unhandledrejection", (event) => defect(reason(event.reason)));
client.addEventListener("connection", () => view.pause(client.connection.state === "paused"));
document.addEventListener("visibilitychange", () => document.hidden || relearn());
setInterval(() => {
  view.tick();
  badge.draw();
}, 1000);

/** What there is, and the scan that the address names; again when somebody has signed in. */
function begin() {
  if (!alone()) scans.refresh();
  show(router.named);
}

if (!access.shared) {
  insist(async () => form.offer(await client.strategies()), element("strategies-state"), "The strategies");
  insist(learn, element("market"), "The symbols");
} else {
  access.then(() => location.reload()); // who has signed in here since may see it all
}
access.ready.then(() => access.asks || named !== null || begin());
mark(document.documentElement, "data-begun", "");
