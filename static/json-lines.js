// JSON lines over one long fetch. The page itself remembers the cursor and comes back with it.

import { cutStream, eventsUrl, subscribe } from "./gateway.js";
import { keepComing, watch } from "./returning.js";

export const transport = {
  name: "ndjson",
  title: "JSON lines",
  about: "One fetch that goes on, a JSON line an event. A few lines of script come back with Last-Event-ID.",
};

export function open({ topics, start }, report) {
  const url = eventsUrl(topics, { ...start, transport: "ndjson" });
  const stop = new AbortController();
  let cursor = null;
  let stream = null;
  let retry = 3000;
  let heartbeat = 15;

  async function follow(end, succeeded) {
    report.state("connecting");
    const silence = watch(end);
    try {
      const response = await subscribe(url, { accept: "application/x-ndjson", cursor, signal: end.signal });
      for await (const line of lines(response.body, () => silence.heard(patience()))) {
        take(JSON.parse(line));
        succeeded();
      }
    } finally {
      silence.stop();
      stream = null;
    }
    // The end of the content is the end of the connection, and nothing better.
    report.state("waiting", `ended; comes back in ${(retry / 1000).toFixed(1)} s`);
    return retry;
  }

  /** Two heartbeats missed, and some. */
  function patience() {
    return 1000 * (2 * heartbeat + 5);
  }

  function take(told) {
    if (told.id) {
      cursor = told.id;
      report.cursor(cursor);
    }
    retry = told.retry ?? retry;
    switch (told.type) {
      case "encke.hello":
        stream = told.data.stream;
        heartbeat = told.data.heartbeat ?? heartbeat;
        report.state("open");
        report.hello(told.data);
        break;
      case "encke.gap":
        report.gap(told.data);
        break;
      case "encke.bye":
        report.bye(told.data);
        break;
      case "encke.cursor":
        break;
      default:
        report.event(told);
    }
  }

  keepComing({ signal: stop.signal, report, retry: () => retry, attempt: follow });
  return {
    close: () => stop.abort(),
    async cut() {
      if (stream) {
        await cutStream(stream);
      }
    },
  };
}

/** The lines of `body` that are not empty. What follows the last line end was cut off, and is dropped. */
async function* lines(body, heard) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      heard();
      const { value, done } = await reader.read();
      if (done) {
        return;
      }
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = parts.pop();
      yield* parts.filter((line) => line !== "");
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
