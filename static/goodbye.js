// A page's goodbye for its own stream, so that the gateway does not take it for one that was cut. It changes nothing of what is
// delivered.
//
// The page says no more of it, as by `beacon=1` it might: with a column for each transport a browser may have no connection left
// to speak by over HTTP/1.1.

import { base } from "./gateway.js";

/** Says goodbye for one EventSource at a time. */
export function goodbye() {
  let stream = null;

  const leave = () => {
    if (stream) {
      // Text, so that a page of another origin needs no preflight; it goes out even while the page goes.
      navigator.sendBeacon(new URL("beacon", base), JSON.stringify({ stream, reason: "goodbye" }));
      stream = null;
    }
  };
  addEventListener("pagehide", leave);

  return {
    /** This is the stream now; null: it was cut off. */
    is(name) {
      stream = name;
    },
    /** The stream is closed for good. */
    close() {
      leave();
      removeEventListener("pagehide", leave);
    },
  };
}
