// HTTP long polling: a request that waits for its answer, and then the next one, after the cursor of the last.

import { cutStream, eventsUrl, subscribe } from "./gateway.js";
import { keepComing, watch } from "./returning.js";

export const transport = {
  name: "long-poll",
  title: "Long polling",
  about: "One request after the other; each waits until there is something to say. Gets through almost anything.",
};

/** Longer than the gateway lets a poll wait. */
const PATIENCE = 60_000;

export function open({ topics, start }, report) {
  const url = eventsUrl(topics, { ...start, transport: "long-poll" });
  const stop = new AbortController();
  let cursor = null;
  let stream = null;
  let current = null;
  // Every poll resumes; said is only that one does after the chain was broken.
  let broken = true;

  async function poll(end, succeeded) {
    report.state(broken ? "connecting" : "open");
    const silence = watch(end);
    silence.heard(PATIENCE);
    current = end;
    try {
      const response = await subscribe(url, { accept: "application/json", cursor, signal: end.signal });
      stream = response.headers.get("Encke-Stream");
      take(await response.json(), response.headers);
      succeeded();
      return 0;
    } catch (error) {
      broken = true;
      throw error;
    } finally {
      silence.stop();
      stream = null;
      current = null;
    }
  }

  function take(answer, headers) {
    report.polled();
    if (broken) {
      broken = false;
      report.state("open");
      report.hello({ resume: headers.get("Encke-Resume") ?? "new" });
    }
    if (answer.gap) {
      report.gap(answer.gap);
    }
    answer.events.forEach((event) => report.event(event));
    cursor = answer.cursor;
    report.cursor(cursor);
  }

  keepComing({ signal: stop.signal, report, retry: () => 2000, attempt: poll });
  return {
    close: () => stop.abort(),
    async cut() {
      if (stream) {
        await cutStream(stream);
      } else {
        // A poll that waits has not told its stream yet, so the connection is cut from this side.
        current?.abort();
      }
    },
  };
}
