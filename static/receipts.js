// A page's word on its own stream, by which the gateway knows what came through: a receipt for the beginning, one now and
// then, and a goodbye. It changes nothing of what is delivered. The page does not promise
// to speak (`beacon=1`): with a column for each transport a browser may have no connection left for it over HTTP/1.1.

import { base } from "./gateway.js";

/** How often something is said while a stream is open, in milliseconds. */
const PACE = 30_000;

/** Says of one EventSource at a time what it got. */
export function receipts() {
  let stream = null;
  let begun = 0;
  let cursor = null;

  const say = (more = {}) => {
    if (stream) {
      const age = Math.round(performance.now() - begun);
      const word = { stream, cursor, age_ms: age, visible: document.visibilityState === "visible", ...more };
      // Text, so that a page of another origin needs no preflight; it goes out even while the page goes.
      navigator.sendBeacon(new URL("beacon", base), JSON.stringify(word));
    }
  };
  const leave = () => {
    say({ reason: "goodbye" });
    stream = null;
  };
  const timer = setInterval(say, PACE);
  addEventListener("pagehide", leave);

  return {
    /** The stream has begun. */
    began(name) {
      [stream, begun] = [name, performance.now()];
      say();
    },
    /** This position is known now. */
    got(position) {
      cursor = position || cursor;
    },
    /** The stream was cut off. */
    lost() {
      stream = null;
    },
    /** The stream is closed for good. */
    close() {
      leave();
      clearInterval(timer);
      removeEventListener("pagehide", leave);
    },
  };
}
