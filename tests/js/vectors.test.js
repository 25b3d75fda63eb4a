// The vectors that every client shares (tests/vectors/README.md).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ofClose, ofHandshake, ofHttp, ofMessage } from "../../static/scanstream/answers.js";
import { retryAfterOf } from "../../static/scanstream/backoff.js";
import { Condition } from "../../static/scanstream/condition.js";
import { parse, skipped } from "../../static/scanstream/cursor.js";
import { EventReader } from "../../static/scanstream/events.js";
import { Ladder } from "../../static/scanstream/ladder.js";
import { GapError, Mirror } from "../../static/scanstream/mirror.js";
import { diff, merge } from "../../static/scanstream/patch.js";
import { expiryOf } from "../../static/scanstream/token.js";

const vectors = (name) => JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url), "utf8"));

for (const { name, before, patch, after } of vectors("patches")) {
  test(`patch: ${name}`, () => {
    const untouched = structuredClone([before, patch]);
    assert.deepEqual(merge(before, patch), after);
    assert.deepEqual(merge(before, diff(before, after)), after);
    assert.deepEqual(diff(after, after), {});
    assert.deepEqual([before, patch], untouched);
  });
}

test("patch: keys that belong to every object are data", () => {
  const state = JSON.parse('{"__proto__": {"a": 1}, "b": {"toString": 1}}');
  const later = JSON.parse('{"__proto__": {"a": 2}, "b": {"toString": 1, "constructor": {"prototype": 3}}}');
  assert.equal(JSON.stringify(merge(state, diff(state, later))), JSON.stringify(later));
  assert.equal({}.a, undefined);
});

const cursors = vectors("cursors");
for (const { name, text, ...parts } of cursors.parsed) test(`cursor: ${name}`, () => assert.deepEqual(parse(text), parts));
for (const text of cursors.none) test(`no cursor: ${JSON.stringify(text)}`, () => assert.equal(parse(text), null));
for (const { name, from, to, skipped: expected } of cursors.skipped) {
  test(`skipped: ${name}`, () => assert.equal(skipped(from, to), expected));
}

for (const { name, since, frames, refused, frames_taken: taken, then } of vectors("frames")) {
  test(`frames: ${name}`, () => {
    const mirror = since === undefined ? new Mirror() : Mirror.since(since);
    const results = frames.map((frame, index) => {
      if (![refused].flat().includes(index)) return mirror.apply(frame);
      assert.throws(() => mirror.apply(frame), GapError);
      return false;
    });
    const { state, opportunities, cursor, ended } = mirror;
    assert.deepEqual({ state, opportunities, cursor, ended }, then);
    if (taken !== undefined) assert.equal(results.filter(Boolean).length, taken);
  });
}

for (const { name, http, handshake, close, message, final, why, retry_after: retryAfter } of vectors("answers")) {
  test(`answer: ${name}`, () => {
    const verdict = http ? ofHttp(http.status, http.body, http.retry_after)
      : handshake ? ofHandshake(handshake.status) : close ? ofClose(close) : ofMessage(message);
    assert.equal(verdict.why, why ?? null);
    assert.equal(verdict.retryAfter, retryAfter);
    if (final) assert.equal(verdict.error.code, final);
  });
}

test("an error has the same status over a socket as over HTTP", () => {
  const page = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");
  const told = new Map([...page.matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, code, status]) => [code, Number(status)]));
  const ends = ["invalid_message", "unauthorized", "forbidden", "not_found", "expired", "invalid_request", "too_many_subscriptions", "damaged"];
  for (const code of ends) assert.equal(ofMessage({ code, detail: "" }).error.status, told.get(code), code);
  for (const [close, status] of [[4401, 401], [4403, 403]]) assert.equal(ofClose(close).error.status, status);
  assert.equal(ofMessage({ code: "__proto__" }).error.status, undefined);
});

for (const { name, headers, now, seconds } of vectors("retry_after")) {
  test(`when to come back: ${name}`, () => {
    const told = retryAfterOf(new Headers(headers), now && (() => Date.parse(now)));
    assert.equal(told ?? null, seconds);
  });
}

for (const { name, token, expires } of vectors("tokens")) {
  test(`token: ${name}`, () => assert.equal(expiryOf(token), expires === null ? Infinity : 1000 * expires));
}

const KNOWN = ["snapshot", "update", "end", "error"];
for (const { name, stream, then } of vectors("events")) {
  for (const size of [1, 2, 7, 10_000]) {
    test(`events: ${name}, in pieces of ${size}`, () => {
      const [bytes, decoder, reader] = [new TextEncoder().encode(stream), new TextDecoder(), new EventReader()];
      const told = [];
      for (let begin = 0; begin < bytes.length; begin += size) {
        told.push(...reader.take(decoder.decode(bytes.subarray(begin, begin + size), { stream: true })));
      }
      const known = told.filter(({ type }) => KNOWN.includes(type));
      assert.deepEqual(known.map(({ type, data }) => ({ ...JSON.parse(data), type })), then);
    });
  }
}

for (const { name, steps } of vectors("connection")) {
  test(`connection: ${name}`, () => {
    const condition = new Condition(() => {});
    steps.forEach(({ event, attempts, rung, best, reason, left = false, then = {} }, index) => {
      ({
        attempt: () => condition.attempt(attempts),
        frame: () => condition.frame(rung, best),
        alive: () => condition.alive(rung, best),
        wait: () => condition.wait(reason, Date.now() + 1000, left),
      })[event]();
      const held = Object.fromEntries(Object.keys(then).map((key) => [key, condition.connection[key]]));
      assert.deepEqual(held, then, `after step ${index}: ${event}`);
    });
  });
}

for (const { name, rungs, random = [0.5], steps } of vectors("ladder")) {
  test(`ladder: ${name}`, () => {
    const chance = [...random];
    const ladder = new Ladder({ rungs, random: () => (chance.length > 1 ? chance.shift() : chance[0]) });
    steps.forEach(({ event, rung, why, at, retry_after: retryAfter, then = {} }, index) => {
      ({
        start: () => ladder.start(at),
        stop: () => ladder.stop(),
        began: () => ladder.began(rung, at),
        frame: () => ladder.frame(rung, at),
        lost: () => ladder.lost(rung, why, at, retryAfter),
        online: () => ladder.online(at),
      })[event]();
      const held = Object.fromEntries(Object.keys(then).map((key) => [key, ladder[key]]));
      assert.deepEqual(held, then, `after step ${index}: ${event} at ${at}`);
    });
  });
}
