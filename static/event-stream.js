// Server-sent events over the browser's own EventSource, which comes back by itself.

import { cutStream, eventsUrl, whatItSays } from "./gateway.js";
import { goodbye } from "./goodbye.js";

export const transport = {
  name: "sse",
  title: "EventSource",
  about: "Server-sent events. The browser comes back by itself, with Last-Event-ID.",
};

export function open({ topics, types, start }, report) {
  // The envelope tells topic and time, which plain `data` does not.
  const url = eventsUrl(topics, { ...start, envelope: "json" });
  const source = new EventSource(url);
  const leaving = goodbye();
  let stream = null;
  let wanted = true;

  const told = (type, tell) => source.addEventListener(type, (message) => {
    report.cursor(message.lastEventId);
    tell(message);
  });
  const toldJson = (type, tell) => told(type, (message) => tell(JSON.parse(message.data)));

  toldJson("encke.hello", (hello) => {
    stream = hello.stream;
    leaving.is(stream);
    report.hello(hello);
  });
  toldJson("encke.gap", (gap) => report.gap(gap));
  toldJson("encke.bye", (bye) => report.bye(bye));
  told("encke.cursor", () => {});
  // An EventSource gives only the types that it is asked for.
  for (const type of new Set(["message", ...types])) {
    told(type, (message) => report.event(unwrapped(message)));
  }

  report.state("connecting");
  source.addEventListener("open", () => report.state("open"));
  source.addEventListener("error", (event) => {
    if (event instanceof MessageEvent) {
      return;
    }
    stream = null;
    leaving.is(null);
    if (source.readyState === EventSource.CLOSED) {
      whyClosed(url).then((words) => wanted && report.state("closed", words));
    } else {
      report.state("waiting", "cut off; the browser comes back by itself");
    }
  });

  return {
    close() {
      wanted = false;
      leaving.close();
      source.close();
    },
    async cut() {
      if (stream) {
        await cutStream(stream);
      }
    },
  };
}

function unwrapped(message) {
  try {
    return JSON.parse(message.data);
  } catch {
    return { id: message.lastEventId, type: message.type, data: message.data };
  }
}

/** An EventSource does not say why it gave up, so the same is asked again in a way that shows the status. */
async function whyClosed(url) {
  const ask = new AbortController();
  try {
    const response = await fetch(url, { headers: { Accept: "text/event-stream" }, signal: ask.signal });
    const type = response.headers.get("Content-Type") ?? "no content type";
    if (response.status !== 200) {
      const words = await whatItSays(response);
      return `the answer was ${words}. An EventSource gives up for good on any status but 200.`;
    }
    return type.startsWith("text/event-stream")
      ? "the browser gave up, as on a status other than 200. It would work now."
      : `the answer was ${type} and not text/event-stream; something between may have replaced it.`;
  } catch {
    return "the browser gave up, and the gateway cannot be reached.";
  } finally {
    ask.abort();
  }
}
