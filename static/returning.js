// How a reader that is not an EventSource comes back: after a delay, longer each time nothing answers.

import { Later, Refused } from "./gateway.js";

const SHORTEST = 500;
const LONGEST = 30_000;

/**
 * Repeats `attempt` until it is refused or `signal` is aborted. An attempt gets the signal that ends it, and answers
 * the milliseconds to wait before the next one. `retry` says how long to wait after an attempt that failed.
 */
export async function keepComing({ signal, report, retry, attempt }) {
  let failures = 0;
  const succeeded = () => {
    failures = 0;
  };
  while (!signal.aborted) {
    const { end, done } = partOf(signal);
    try {
      const wait = await attempt(end, succeeded);
      await pause(wait, signal);
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      if (error instanceof Refused) {
        report.state("closed", `the answer was ${error.message}`);
        return;
      }
      const told = error instanceof Later ? error : { message: "cut off", wait: 0 };
      const doubled = Math.min(LONGEST, retry() * 2 ** failures);
      const wait = Math.max(SHORTEST, doubled, told.wait);
      failures += 1;
      report.state("waiting", `${told.message}; comes back in ${(wait / 1000).toFixed(1)} s`);
      await pause(wait, signal);
    } finally {
      done();
    }
  }
}

/** Ends `end` when nothing has been heard for so long that the connection must be dead. */
export function watch(end) {
  let timer;
  return {
    heard(patience) {
      clearTimeout(timer);
      timer = setTimeout(() => end.abort(), patience);
    },
    stop: () => clearTimeout(timer),
  };
}

function partOf(signal) {
  const end = new AbortController();
  const follow = () => end.abort();
  signal.addEventListener("abort", follow);
  return { end, done: () => signal.removeEventListener("abort", follow) };
}

function pause(wait, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(finish, wait);
    function finish() {
      clearTimeout(timer);
      signal.removeEventListener("abort", finish);
      resolve();
    }
    signal.addEventListener("abort", finish);
  });
}
