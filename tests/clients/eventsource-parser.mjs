// Reads a rendered event stream with npm's eventsource-parser, cut anywhere, and holds it against what was published.
//   node eventsource-parser.mjs PACKAGE STREAM EXPECTED
// EXPECTED is a JSON list of [type, data, id or null, retry or null], an entry for each event in order.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [packageDir, streamFile, expectedFile] = process.argv.slice(2);
const { exports } = JSON.parse(readFileSync(join(packageDir, "package.json"), "utf8"));
const entry = [exports["."].default, exports["."].import, exports["."]].find((path) => typeof path === "string");
const { createParser } = await import(pathToFileURL(join(packageDir, entry)).href);

const stream = readFileSync(streamFile);
const expected = JSON.parse(readFileSync(expectedFile, "utf8"));
assert.ok(expected.length > 1000, "the expectation is too short to prove anything");

/** The same pieces on every run: xorshift32. */
function random(seed) {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function read(longest, seed) {
  const events = [];
  let retry = null;
  const parser = createParser({
    onEvent({ event, data, id }) {
      events.push([event ?? "message", data, id ?? null, retry]);
      retry = null;
    },
    onRetry(milliseconds) {
      retry = milliseconds;
    },
    onError(error) {
      throw error;
    },
  });
  const decoder = new TextDecoder();
  const below = random(seed);
  for (let at = 0; at < stream.length; ) {
    const end = at + 1 + below(longest);
    parser.feed(decoder.decode(stream.subarray(at, end), { stream: true }));
    at = end;
  }
  return events;
}

for (const longest of [1, 2, 3, 7, 40, 200, 1500, 65536]) {
  for (const seed of [1, 2, 3]) {
    const events = read(longest, seed);
    for (const [index, event] of events.entries()) {
      assert.deepEqual(event, expected[index], `event ${index}, pieces of up to ${longest} bytes, seed ${seed}`);
    }
    assert.equal(events.length, expected.length);
  }
}
