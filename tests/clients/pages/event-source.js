// The browser's own EventSource, which comes back by itself.

import { asked, tell } from "/tell.js";

const url = new URL(asked.get("url"));

function open() {
  const source = new EventSource(url);
  for (const type of asked.getAll("type")) {
    source.addEventListener(type, ({ type, lastEventId, data }) => {
      url.searchParams.set("lastEventId", lastEventId);
      tell([type, lastEventId, data]);
    });
  }
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) {
      return;
    }
    // Firefox (ESR 153) comes back to another origin only once: if it finds nobody then, it gives up for good.
    if (navigator.userAgent.includes("Firefox/")) {
      setTimeout(open, 500);
    } else {
      tell(["closed for good", "", ""]);
    }
  });
}

open();
