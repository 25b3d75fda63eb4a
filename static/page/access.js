/**
 * Who looks at this page. Nobody is asked before the server asks: then somebody with a key, which is kept for the
 * session of this tab, or somebody with a link that was shared, whose token is in the fragment and opens one scan.
 */
import { element, tell, write } from "./dom.js";

const PLACE = "scanstream.key";
const SHARED = /^#scan_[\w-]+&token=(sst_[\w.~+/-]*=*)$/;
/** In a token's place something else: a key, perhaps, and keys never stand in an address. */
const STRAY = /&token=(?!sst_)/;
/** What a key or token may be written in. */
const SIGNS = /^[\w.~+/-]+=*$/;
const PATIENCE_MS = 10_000;
/** So long other questions wait for the first one, which tells whether the server asks. */
const FIRST_MS = 2000;
const WORDS = {
  key: "This server wants to know who is asking. Your key is kept until this tab is closed, and goes to this server only.",
  over: "Your key is not good any more: it has run out, or was taken back. Scans go on meanwhile.",
  stray: "The link has no token of a scan in it. If that was a key nobody has used it, but it stood in an address: have it revoked.",
  own: "The link has run out, or was cut off. You see this with your own key, which may open less.",
  link: "This link has run out, or is cut off. Ask whoever gave it to you for another, or sign in with a key of your own.",
};

export class Access {
  /** The token of the link that this page was opened with. @type {string | null} */
  #link = linked();
  /** @type {string | null} */
  #key = null;
  /** Whether the server has asked, and was given nothing good. */
  #asks = false;
  /** @type {(() => void)[]} */
  #waiting = [];
  /** The server's answer to who has shown nothing good: it says the same to all. @type {Response | null} */
  #refusal = null;
  /** The first question of somebody with nothing to show; the others wait for it. @type {Promise<unknown> | null} */
  #first = null;
  /** Whether this page is about to be loaded anew, without its link. */
  #leaving = false;
  /** @type {() => void} */
  #known = () => {};
  /** Settled once it is known whether the server asks. @type {Promise<void>} */
  ready = new Promise((settle) => (this.#known = settle));

  /**
   * @param {URL} home of the server
   * @param {{ asked: () => void, entered: () => void }} given called when somebody is asked for a key, and has signed in
   */
  constructor(home, given) {
    this.home = home;
    this.given = given;
    this.#key = kept();
    if (this.token()) this.#known();
    const over = history.state?.over === true;
    if (over) history.replaceState(null, "");
    tell(element("link-over"), over ? WORDS.own : "");
    element("access-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault(); // the policy of the page forbids the rest
      this.#enter(element("key").value.trim());
    });
    element("sign-out").addEventListener("click", () => {
      keep(null);
      location.reload();
    });
    addEventListener("hashchange", () => (linked() === this.#link ? this.#cleanse() : location.reload()));
    this.#cleanse();
    this.#draw();
  }

  /** What may be a key is sent nowhere, and does not stay in the address. */
  #cleanse() {
    if (!STRAY.test(location.hash)) return;
    this.#leaveLink(history.state);
    tell(element("link-over"), WORDS.stray);
  }

  /** What goes along with each question. @type {() => string | null} */
  token = () => this.#link ?? this.#key;

  /** Whether this is somebody with a link: they see one scan, and nothing else. */
  get shared() {
    return this.#link !== null && !this.#asks;
  }

  /** Whether somebody has signed in. */
  get known() {
    return this.#key !== null && this.#link === null;
  }

  /** Whether the server asks who they are. */
  get asks() {
    return this.#asks;
  }

  /** Once somebody has signed in. @param {() => void} call */
  then(call) {
    this.#waiting.push(call);
  }

  /** `fetch`, which hears when the server asks; who has nothing to show asks once. @type {typeof globalThis.fetch} */
  fetch = async (input, more = {}) => {
    const sent = /** @type {any} */ (more.headers)?.Authorization ?? null;
    if (sent !== null) return this.#asked(input, more, sent);
    if (this.#first) await this.#first;
    if (this.#refusal) return this.#refusal.clone();
    const asked = this.#asked(input, more, sent);
    if (!this.#first) {
      const late = new Promise((settle) => setTimeout(settle, FIRST_MS));
      this.#first = Promise.race([late, asked.catch(() => {})]).then(this.#known);
    }
    return asked;
  };

  /** @param {RequestInfo | URL} input @param {RequestInit} more @param {string | null} sent */
  async #asked(input, more, sent) {
    const answer = await globalThis.fetch(input, more);
    const asks = answer.headers.get("WWW-Authenticate")?.startsWith("Bearer"); // else it is of a proxy
    const now = this.token();
    if (answer.status === 401 && asks && sent === (now && `Bearer ${now}`)) {
      this.#refusal = answer.clone();
      this.refused();
    } // else what was shown is out of date
    return answer;
  }

  /** The same for the page's own questions. @param {URL} url @param {RequestInit} [more] */
  ask = (url, more = {}) => {
    const token = this.token();
    return this.fetch(url, { ...more, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  };

  /** Whether the server takes what is shown by now: a connection may have shown what was before it. */
  async holds() {
    try {
      const { status } = await this.ask(new URL("opportunities/strategies", this.home), { signal: AbortSignal.timeout(PATIENCE_MS) });
      return status !== 401;
    } catch {
      return false;
    }
  }

  /** What was shown is not good. */
  refused() {
    if (this.#asks || this.#leaving) return;
    if (this.#link && this.#key) {
      this.#leaving = true; // what else was on its way with the link says nothing of the key
      this.#leaveLink({ over: true });
      location.reload(); // the link has run out, not the key: it stays, and opens what it opens
      return;
    }
    const why = this.#link ? WORDS.link : this.#key ? WORDS.over : WORDS.key;
    this.#asks = true;
    this.#key = null;
    keep(null);
    write(element("access-why"), why);
    this.#draw();
    this.given.asked();
    element("access").focus();
  }

  /** @param {string} key */
  async #enter(key) {
    const place = element("access-error");
    tell(place, "");
    const trouble = await this.#tried(key);
    if (trouble) {
      tell(place, trouble);
      element("key").select();
      return;
    }
    this.#key = key;
    this.#asks = false;
    this.#refusal = null;
    keep(key);
    element("key").value = "";
    if (this.#link) this.#leaveLink(history.state);
    this.#draw();
    this.given.entered();
    for (const call of this.#waiting.splice(0)) call();
  }

  /** The address names the scan alone. @param {unknown} state of the history */
  #leaveLink(state) {
    this.#link = null;
    history.replaceState(state, "", location.hash.replace(/&token=.*/, ""));
  }

  /** Why this key opens nothing; nothing where it does. @param {string} key @returns {Promise<string>} */
  async #tried(key) {
    if (!SIGNS.test(key)) return "This is no key: a key has letters, digits and few other signs, and no blanks.";
    try {
      const headers = { Authorization: `Bearer ${key}` };
      const url = new URL("opportunities/strategies", this.home);
      const { ok, status } = await globalThis.fetch(url, { headers, signal: AbortSignal.timeout(PATIENCE_MS) });
      if (ok) return "";
      if (status === 401) return "This is no key of this server, or no longer one.";
      if (status === 403) return "This key may start and see no scans: it lacks the right for that.";
      return `The server does not answer as it should (${status}). Try again.`;
    } catch {
      return "The server does not answer. Try again.";
    }
  }

  #draw() {
    element("access").hidden = !this.#asks;
    element("shared-note").hidden = !this.shared;
    element("sign-out").hidden = !this.known;
    document.documentElement.toggleAttribute("data-asks", this.#asks);
    document.documentElement.toggleAttribute("data-shared", this.shared);
  }
}

/** The token in the address. @returns {string | null} */
function linked() {
  return SHARED.exec(location.hash)?.[1] ?? null;
}

/** @returns {string | null} */
function kept() {
  try {
    return sessionStorage.getItem(PLACE);
  } catch {
    return null; // a browser that keeps nothing for pages
  }
}

/** @param {string | null} key */
function keep(key) {
  try {
    if (key === null) sessionStorage.removeItem(PLACE);
    else sessionStorage.setItem(PLACE, key);
  } catch {
    // then it lasts until the page is loaded again
  }
}
