/** The page: follows a scan as docs/protocol.md says, and draws it at most once per animation frame. */
/** @typedef {Record<string, any>} Plain JSON as the server sends it, or made from that */
const BEST = 20, LONGEST_WAIT_S = 10, WATCH_MS = 5000;
let asked = /** @type {Plain} */ ({}), shown = asked, drawing = 0; // the newest wish, the scan on show, the next frame

const element = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
/** Leaves alone what stays the same: screen readers say what is written. @type {(id: string, text: string) => void} */
const write = (id, text) => { if (element(id).textContent !== text) element(id).textContent = text; };
/** @type {(tag: string, content: (string | Element)[]) => Element} */
const node = (tag, content) => { const made = document.createElement(tag); made.append(...content); return made; };
const fill = (/** @type {string} */ id, /** @type {string[][]} */ rows) =>
  element(id).replaceChildren(...rows.map((texts) => node("tr", texts.map((text) => node("td", [text])))));
/** RFC 7396 without nulls. @type {(held: Plain | undefined, patch: Plain) => Plain} */
const merge = (held, patch) => ({ ...held, ...Object.fromEntries(Object.entries(patch).map(([key, value]) =>
  [key, value.constructor === Object ? merge(held?.[key], value) : value])) });
/** @param {Plain} question what begins each connection: at first the wish, after that where to go on */
const ask = (question) => connect(asked = { question, failures: 0, over: false, state: {}, best: [] });
function connect(/** @type {Plain} */ scan) {
  const unwanted = () => scan.over || (scan !== asked && scan !== shown);
  const socket = new WebSocket(new URL("ws", location.href).href.replace("http", "ws"), "scanstream.v1.json");
  let trouble = "There is no connection to the server", pause = 0, silence = 0, watch = 0;
  socket.onopen = () => {
    socket.send(JSON.stringify(scan.question));
    watch = setInterval(() => silence++ < 2 ? socket.send('{"type":"ping"}') : socket.close(), WATCH_MS);
  };
  socket.onmessage = ({ data }) => {
    if (unwanted()) return socket.close();
    const { type, scan_id, cursor, state, patch = state, opportunities = [], detail = "", ...rest } = JSON.parse(data);
    silence = scan.failures = 0;
    write("notice", detail); // an error's words stay until there is better news
    if (cursor) scan.question = { type: "subscribe", scan_id, since: cursor };
    if (state) [shown, scan.state, scan.best] = [scan, {}, []]; // a snapshot: what was held before does not count
    if (patch) {
      scan.state = merge(scan.state, patch);
      scan.best = [...scan.best, ...opportunities].sort((a, b) =>
        b.confidence_score - a.confidence_score || (a.id < b.id ? -1 : 1)).slice(0, BEST);
      drawing ||= requestAnimationFrame(() => { drawing = 0; draw(); });
    }
    if (type === "ack") history.replaceState(null, "", `#${scan_id}`); // what a reload asks for
    if (type === "error") [trouble, pause] = [detail, rest.retry_after ?? Infinity];
    if (type === "end") scan.over = true;
    if (scan.over || pause) socket.close();
  };
  socket.onclose = () => {
    clearInterval(watch);
    if (unwanted() || pause === Infinity) return;
    const wait = Math.max(pause, Math.min(LONGEST_WAIT_S, 2 ** scan.failures++ / 4) * (1 + Math.random()) / 2);
    write("notice", `${trouble}; trying again in ${Math.ceil(wait)} s`);
    setTimeout(() => unwanted() || connect(scan), 1000 * wait);
  };
}
function draw() {
  const { market, phase, message, progress: done, strategies } = shown.state;
  element("scan").hidden = false;
  element("bar").value = done.percentage;
  write("market", market === "synthetic" ? "synthetic: generated prices, nothing is real" : market);
  write("phase", `${phase} – ${message}`);
  write("numbers", `${done.percentage} %, ${done.shards_completed} of ${done.total_shards} shards`);
  fill("strategies", Object.entries(strategies).map(([id, it]) => [id, `${it.shards_completed} of ${it.total_shards}`,
    it.opportunities_found, it.status + (it.error || it.note ? `: ${it.error?.detail ?? it.note}` : "")]));
  fill("opportunities", shown.best.map((/** @type {Plain} */ it) => [
    [it.symbols.join(" + "), it.id.match(/@(.+):\d{4}-/)?.[1]].filter(Boolean).join(" "), it.side,
    it.confidence_score.toFixed(1), `${(100 * it.expected_return).toFixed(2)} %`, it.estimated_timeframe,
    it.hit_rate_n ? `${(100 * it.hit_rate).toFixed(0)} % of ${it.hit_rate_n}` : "–", it.risk_level, it.strategy_id]));
}
onsubmit = () => ask({ type: "discover",
  request: { symbols: element("symbols").value.trim() || null, force_refresh: shown.over } });
onhashchange = () => location.reload(); // another scan's id was put into the address
if (location.hash) ask({ type: "subscribe", scan_id: location.hash.slice(1) });
