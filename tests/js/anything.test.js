// Whatever a server or a proxy says: a decoder takes it, or fails in the one way that its callers know.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ofClose, ofHandshake, ofHttp, ofMessage } from "../../static/scanstream/answers.js";
import { retryAfterOf } from "../../static/scanstream/backoff.js";
import { parse, skipped } from "../../static/scanstream/cursor.js";
import { EventReader } from "../../static/scanstream/events.js";
import { GapError, Mirror } from "../../static/scanstream/mirror.js";
import { diff, isObject, merge } from "../../static/scanstream/patch.js";
import { expiryOf } from "../../static/scanstream/token.js";

const ROUNDS = 4000;
const SEED = Number(process.env.SCANSTREAM_SEED ?? Date.now() % 100_000);

/** Repeatable (mulberry32): node's own chance takes no seed. */
function chance(seed) {
  let at = seed >>> 0;
  return () => {
    at = (at + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(at ^ (at >>> 15), at | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const random = chance(SEED);
const below = (count) => Math.floor(random() * count);
const one = (list) => list[below(list.length)];
const WORDS = ["", "e1-1.0", "e1-2.1", "e2-0.0", "what?", "e1-99999999999999999999.1", "__proto__", "constructor", "a.b.c", "\ud800", "é", "120", "-1"];
const NAMES = ["cursor", "state", "patch", "opportunities", "offset", "skipped", "more", "status", "code", "detail", "errors", "retry_after", "__proto__", "id", "scan_id"];

function value(depth = 0) {
  const kind = below(depth > 3 ? 5 : 7);
  if (kind === 0) return null;
  if (kind === 1) return random() < 0.5;
  if (kind === 2) return one([0, -1, 1.5, 1e300, 2 ** 53, below(100)]);
  if (kind < 5) return one(WORDS);
  if (kind === 5) return Array.from({ length: below(4) }, () => value(depth + 1));
  return object(depth + 1);
}

/** As from JSON: `__proto__` is a name like all others. */
const object = (depth = 0) => JSON.parse(JSON.stringify(Object.fromEntries(Array.from({ length: below(5) }, () => [one(NAMES), value(depth)]))));
const FOUND = [[], [{ id: "x" }], [{ id: "x" }, { id: "y" }]];
const frame = () => ({ cursor: one(WORDS), state: object(), patch: object(), opportunities: one(FOUND), offset: below(3), ...object(), type: one(["snapshot", "update", "end"]) });

function rounds(name, body) {
  test(`${name} (SCANSTREAM_SEED=${SEED})`, () => {
    for (let round = 0; round < ROUNDS; round += 1) body();
  });
}

rounds("a mirror of anything holds a state and a list", () => {
  const mirror = new Mirror();
  for (let count = 0; count < 5; count += 1) {
    try {
      mirror.apply(frame());
    } catch (error) {
      assert.ok(error instanceof GapError, error);
    }
    assert.ok(isObject(mirror.state));
    assert.ok(mirror.opportunities.every(isObject));
  }
});

rounds("errors of anything are verdicts", () => {
  for (const verdict of [ofHttp(100 + below(500), value(), undefined), ofMessage(object()), ofClose(below(5000), one(WORDS)), ofHandshake(100 + below(500))]) {
    assert.ok(verdict.error instanceof Error);
  }
});

rounds("events of anything have a type and data, however they are cut", () => {
  const text = Array.from({ length: below(12) }, () => one(["event: update", "data: {}", "data", ":", "\r", "\n", "\r\n", "\n\n", "id: 1", one(WORDS)])).join("") + "\n";
  const [whole, pieces] = [new EventReader(), new EventReader()];
  const told = whole.take(text);
  const cut = [];
  for (let at = 0; at < text.length; ) {
    const end = at + 1 + below(5);
    cut.push(...pieces.take(text.slice(at, end)));
    at = end;
  }
  assert.deepEqual(cut, told);
  for (const { type, data } of told) assert.ok(type && typeof data === "string");
});

rounds("cursors, tokens and times of anything are such or none", () => {
  parse(one(WORDS));
  assert.equal(typeof expiryOf(one([one(WORDS), `a.${btoa(JSON.stringify({ exp: "x" }))}.c`, `a.${btoa("null")}.c`, "a.!!.c"])), "number");
  assert.ok(skipped(one(WORDS), one(WORDS)) >= 0);
  const seconds = retryAfterOf(new Headers({ "retry-after": one(["", "1", "-1", "1e400", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]) }));
  assert.ok(seconds === undefined || seconds === null || seconds >= 0, `${seconds}`);
});

rounds("a patch of anything gives an object, and nobody's prototype is changed", () => {
  const [before, after] = [object(), object()];
  assert.ok(isObject(merge(before, after)));
  diff(before, after);
  assert.equal(/** @type {any} */ ({}).cursor, undefined);
});
