// What the pages share: what they are asked for, and how they tell what they see.

export const asked = new URLSearchParams(location.search);

let waiting = [];
let telling = false;

/** Tells the test an event as `[type, id, data]`; those that come meanwhile go out together. */
export async function tell(event) {
  waiting.push(event);
  if (telling) {
    return;
  }
  telling = true;
  while (waiting.length > 0) {
    const batch = waiting;
    waiting = [];
    await report(batch);
  }
  telling = false;
}

/** Tells an event that came as JSON. */
export function tellJson({ type, id = "", data }) {
  return tell([type, id, typeof data === "string" ? data : JSON.stringify(data)]);
}

/** Asks for events after `cursor`, if there is one. The field makes it a request that needs a preflight. */
export function ask(accept, cursor) {
  const headers = { Accept: accept };
  if (cursor) {
    headers["Last-Event-ID"] = cursor;
  }
  return fetch(asked.get("url"), { headers, cache: "no-store" });
}

/** Asks again and again, whatever happened. */
export async function keepAsking(attempt) {
  for (;;) {
    try {
      await attempt();
    } catch (error) {
      console.log(`cut off: ${error}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}
