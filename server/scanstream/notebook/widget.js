// The live widget of a scan in a notebook. All that it shows comes from the kernel, as one trait (`shown.py`): the
// browser of a notebook is a foreign origin to the server.

/** After so long without a word from the kernel the view says so; the kernel says something each 5 s. */
const SILENCE_MS = 15_000;

/**
 * An element; what comes from the server is text, never markup.
 *
 * @param {string} tag
 * @param {string} name its class, below `scanstream-`
 * @param {...(Node | string)} children
 */
function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = `scanstream-${name}`;
  element.append(...children);
  return element;
}

/**
 * Say it, if that is news: what is the same is not read out again, and keeps its selection.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

/** @param {number} value @param {number} digits */
const number = (value, digits) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** @param {any} shown */
function headline(shown) {
  const words = [shown.status === "scanning" ? shown.phase : shown.status, `${shown.percentage} %`];
  words.push(`${shown.found} found`);
  if (!shown.over && shown.seconds_left >= 1) words.push(`about ${Math.round(shown.seconds_left)} s left`);
  return words.join(" · ");
}

/** @param {any} shown */
function wayToServer({ over, connection: { state, transport, reason, retry_at } }) {
  if (over) return "";
  if (state === "live") return transport === "websocket" ? "live" : `live, by ${transport}`;
  if (state !== "waiting") return state;
  const seconds = Math.max(0, Math.round(retry_at - Date.now() / 1000));
  return `waiting for the server: ${reason}; next try in ${seconds} s`;
}

/** @param {any} one */
function strategyRow(one) {
  const bar = /** @type {HTMLProgressElement} */ (make("progress", "bar"));
  const ended = one.status !== "pending" && one.status !== "running";
  bar.max = one.total || 1;
  bar.value = one.total ? one.done : Number(ended);
  bar.setAttribute("aria-label", `${one.name}: ${one.done} of ${one.total} shards`);
  const how = make("td", "how", one.status);
  if (one.note) how.append(make("span", "note", ` ${one.note}`));
  const row = make("tr", "", make("th", "name", one.name), make("td", "", bar));
  row.append(make("td", "count", `${one.done}/${one.total}`), make("td", "count", `${one.found} found`), how);
  /** @type {HTMLElement} */ (row.firstElementChild).setAttribute("scope", "row");
  row.dataset.status = one.status;
  return row;
}

/** @param {any} one */
function foundRow(one) {
  const cells = [one.symbol, one.strategy_id, one.side, number(one.confidence_score, 1)];
  cells.push(`${one.expected_return < 0 ? "−" : "+"}${number(Math.abs(one.expected_return) * 100, 2)} %`);
  cells.push(number(one.profit_potential_usd, 2));
  return make("tr", "", ...cells.map((text, at) => make("td", at > 2 ? "count" : "", text)));
}

/** The parts of one view, and how they are filled. */
function view() {
  const title = make("strong", "headline");
  const way = make("span", "way");
  const cancel = /** @type {HTMLButtonElement} */ (make("button", "cancel", "Cancel"));
  cancel.type = "button";
  const bar = /** @type {HTMLProgressElement} */ (make("progress", "whole"));
  bar.max = 100;
  bar.setAttribute("aria-label", "The whole scan");
  const message = make("div", "message");
  const warning = make("div", "warning");
  const silent = make("div", "warning");
  const spoken = make("div", "spoken");
  spoken.setAttribute("role", "status");
  const strategies = make("tbody", "");
  const more = make("div", "message");
  const found = make("tbody", "");
  const names = ["Symbol", "Strategy", "Side", "Confidence", "Return", "USD"].map((name) => make("th", "", name));
  for (const name of names) name.setAttribute("scope", "col");
  const best = make("table", "best", make("caption", "", "The most confident"));
  best.append(make("thead", "", make("tr", "", ...names)), found);
  const root = make("section", "scan", make("div", "head", title, way, cancel), bar, message, warning, silent, spoken);
  root.append(make("table", "strategies", strategies), more, best);
  return { root, title, way, cancel, bar, message, warning, silent, spoken, strategies, more, found, best };
}

/** @param {ReturnType<typeof view>} parts @param {any} shown */
function fill(parts, shown) {
  parts.root.dataset.status = shown.status;
  parts.root.setAttribute("aria-label", `Scan ${shown.scan_id}`);
  say(parts.title, headline(shown));
  say(parts.way, wayToServer(shown));
  parts.way.dataset.state = shown.connection.state;
  parts.bar.value = shown.percentage;
  const origin = shown.generated ? "generated prices, nothing in them is real" : shown.market;
  say(parts.message, [shown.message, origin].filter(Boolean).join(" · "));
  say(parts.warning, [shown.trouble, shown.left].filter(Boolean).join(" "));
  say(parts.spoken, `${shown.status}, ${shown.phase}, ${Math.floor(shown.percentage / 25) * 25} %`);
  parts.strategies.replaceChildren(...shown.strategies.map(strategyRow));
  say(parts.more, shown.more_strategies ? `and ${shown.more_strategies} more strategies` : "");
  parts.found.replaceChildren(...shown.best.map(foundRow));
  parts.best.hidden = !shown.best.length;
  parts.cancel.hidden = shown.over;
}

/** @param {{ model: any, el: HTMLElement }} context */
function render({ model, el }) {
  const parts = view();
  let heard = performance.now();
  let asked = false;

  const draw = () => {
    const { shown } = model.get("news");
    heard = performance.now();
    if (shown.trouble) asked = false;
    fill(parts, shown);
    say(parts.silent, "");
    parts.cancel.disabled = asked || shown.cancelling;
    say(parts.cancel, parts.cancel.disabled ? "Cancelling…" : "Cancel");
    parts.cancel.hidden = shown.over;
  };
  const ask = () => {
    asked = true;
    parts.cancel.disabled = true;
    say(parts.cancel, "Cancelling…");
    model.send({ type: "cancel" });
  };
  const listen = () => {
    const { shown } = model.get("news");
    say(parts.way, wayToServer(shown));
    const since = Math.round((performance.now() - heard) / 1000);
    const lost = !shown.over && since * 1000 >= SILENCE_MS;
    say(parts.silent, lost ? `The kernel has said nothing for ${since} s: it is busy, or gone. The scan goes on.` : "");
  };

  const timer = setInterval(listen, 1000);
  parts.cancel.addEventListener("click", ask);
  model.on("change:news", draw);
  draw();
  el.append(parts.root);
  return () => {
    clearInterval(timer);
    model.off("change:news", draw);
  };
}

export default { render };
