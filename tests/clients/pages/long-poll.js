// Long polling over fetch: one request after the other, each after the cursor of the last answer.

import { ask, keepAsking, tellJson } from "/tell.js";

let cursor = "";

await keepAsking(async () => {
  const response = await ask("application/json", cursor);
  const answer = await response.json();
  const [stream, resume] = ["Encke-Stream", "Encke-Resume"].map((name) => response.headers.get(name));
  tellJson({ type: "encke.hello", data: { stream, resume } });
  answer.events.forEach(tellJson);
  cursor = answer.cursor;
});
