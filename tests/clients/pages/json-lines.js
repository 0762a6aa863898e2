// JSON lines over fetch: the page keeps the cursor and comes back with it.

import { ask, keepAsking, tellJson } from "/tell.js";

let cursor = "";

await keepAsking(async () => {
  const response = await ask("application/x-ndjson", cursor);
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return;
    }
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines.filter((line) => line !== "")) {
      const event = JSON.parse(line);
      cursor = event.id ?? cursor;
      tellJson(event);
    }
  }
});
