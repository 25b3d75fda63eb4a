// The vectors that every client shares (tests/vectors/README.md).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ofClose, ofHandshake, ofHttp, ofMessage } from "../../static/scanstream/answers.js";
import { parse, skipped } from "../../static/scanstream/cursor.js";
import { Ladder } from "../../static/scanstream/ladder.js";
import { GapError, Mirror } from "../../static/scanstream/mirror.js";
import { diff, merge } from "../../static/scanstream/patch.js";

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
      if (index !== refused) return mirror.apply(frame);
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
