/** What `<scan-progress>` says, in words: of every state that there may be, and of some that there may be one day. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { count, line, outcome, remaining, remark, standing } from "../../static/progress/words.js";

const NOW = 1_000_000;

/** @param {Partial<import("../../static/scanstream/line.js").Connection>} connection */
const said = (connection) =>
  line({ state: "live", transport: "websocket", attempts: 0, retryAt: null, lag: null, reason: null, ...connection }, NOW);

test("how it stands", () => {
  assert.equal(standing({}), "Connecting");
  assert.equal(standing({ status: "scanning" }), "Registered");
  const phases = ["init", "queued", "running", "cancelling", "resting"].map((phase) => standing({ status: "scanning", phase }));
  assert.deepEqual(phases, ["Registered", "Waiting for its turn", "Scanning", "Being cancelled", "resting"]);
  const ends = ["complete", "failed", "cancelled", "constructor"].map((status) => standing({ status, phase: "done" }));
  assert.deepEqual(ends, ["Complete", "Failed", "Cancelled", "constructor"]);
  const strategies = { one: { status: "complete" }, other: { status: "timed_out" } };
  assert.equal(standing({ status: "complete", strategies }), "Partly complete");
  assert.equal(standing({ status: "scanning", phase: "running", strategies }), "Scanning");
});

test("what is to be known beside that", () => {
  assert.equal(remark({ status: "complete", message: "all done", market: "files:x" }), "");
  assert.equal(remark({ status: "failed", message: "all failed" }), "all failed");
  assert.equal(remark({ status: "failed", message: "failed", error: { code: "x", detail: "too large a plan" } }), "too large a plan");
  const strategies = { one: { status: "complete" }, other: { status: "failed" } };
  assert.equal(remark({ status: "complete", message: "other failed", strategies }), "other failed");
  assert.match(remark({ status: "scanning", market: "synthetic" }), /generated/);
});

test("how much was found", () => {
  assert.equal(count({}), "0 opportunities");
  assert.equal(count({ progress: { opportunities_found_so_far: 1 } }), "1 opportunity");
  assert.equal(count({ progress: { opportunities_found_so_far: 3 }, total_opportunities: 10_001 }), "10,001 opportunities");
});

test("when it will be over", () => {
  const told = [undefined, 0, 0.4, 1, 59.6, 65, 3599, 3660, 86_400].map(remaining);
  assert.deepEqual(told, [
    "",
    "any moment now",
    "any moment now",
    "about 1 s left",
    "about 1 min 0 s left",
    "about 1 min 5 s left",
    "about 59 min 59 s left",
    "about 1 h 1 min left",
    "about 24 h 0 min left",
  ]);
});

test("one strategy", () => {
  assert.equal(outcome({ status: "pending" }), "pending, 0 found");
  assert.equal(outcome({ status: "running", shards_completed: 2, total_shards: 8, opportunities_found: 1200 }), "running 2 of 8, 1,200 found");
  assert.equal(outcome({ status: "complete", total_shards: 0, note: "no quotes" }), "complete, 0 found; no quotes");
  const failed = { status: "failed", error: { code: "strategy_error", detail: "KeyError" }, note: "half of it" };
  assert.equal(outcome(failed), "failed, 0 found; KeyError; half of it");
  assert.equal(outcome({ status: "failed", error: "KeyError" }), "failed, 0 found; KeyError");
  assert.equal(outcome({ status: "toString" }), "toString, 0 found");
});

test("how the line is", () => {
  const rungs = ["websocket", "stream", "longpoll", "poll", "pigeon"].map((transport) => said({ transport }));
  assert.deepEqual(rungs, ["Live", "Live, slower: event stream", "Live, slower: long polling", "Live, slower: polling", "Live, slower: pigeon"]);
  assert.equal(said({ state: "connecting", transport: null }), "Connecting");
  assert.equal(said({ state: "connecting" }), "Connecting again");
  assert.equal(said({ state: "paused" }), "Paused while nobody looks");
  assert.equal(said({ state: "closed" }), "Closed");
  assert.equal(said({ state: "waiting", reason: "It restarts", retryAt: NOW + 2100 }), "It restarts; next try in 3 s");
  assert.equal(said({ state: "waiting", retryAt: NOW - 5 }), "The server does not answer; next try now");
  assert.equal(said({ state: "waiting", reason: "The token has expired" }), "The token has expired");
});
