// npm's eventsource, which comes back by itself. Each event is told as a line of JSON: [type, id, data].
//   node eventsource.mjs URL TYPE…

import { EventSource } from "eventsource";

const [url, ...types] = process.argv.slice(2);
const source = new EventSource(url);
for (const type of types) {
  source.addEventListener(type, ({ type, lastEventId, data }) => {
    process.stdout.write(`${JSON.stringify([type, lastEventId, data])}\n`);
  });
}
source.addEventListener("error", (error) => {
  console.error(error.message ?? "the stream ended");
  if (source.readyState === EventSource.CLOSED) {
    process.exitCode = 1;
  }
});
