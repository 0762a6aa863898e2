// npm's fetch-event-source, which comes back by itself after an error; that an end is to be one too is up to the page.

import { fetchEventSource } from "/fetch-event-source/fetch";
import { asked, tell } from "/tell.js";

fetchEventSource(asked.get("url"), {
  onmessage({ event, id, data }) {
    // A block without data, as after a comment, is handed on as well.
    if (id !== "" || event !== "") {
      tell([event || "message", id, data]);
    }
  },
  onclose() {
    throw new Error("the stream has ended");
  },
  onerror(error) {
    console.log(`cut off: ${error}`);
  },
});
