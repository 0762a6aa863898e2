// What the page asks of the gateway: addresses, requests that resume, publishing, cutting.

/** Where the gateway is: this file is in a directory below it, whatever path a proxy has put it under. */
export const base = new URL("..", import.meta.url);

/** A status that will not change by asking again. */
export class Refused extends Error {}

/** The gateway is there, but wants to be asked later. */
export class Later extends Error {
  constructor(words, wait) {
    super(words);
    this.wait = wait;
  }
}

/** The address of one or more topics. A name that a path cannot hold goes into the query. */
export function eventsUrl(topics, parameters = {}) {
  const url = new URL("events", base);
  const segments = topics[0].split("/");
  const fitsPath = topics.length === 1 && !topics[0].includes("*")
    && segments.every((segment) => !["", ".", ".."].includes(segment));
  if (fitsPath) {
    url.pathname += `/${segments.map(encodeURIComponent).join("/")}`;
  } else {
    topics.forEach((topic) => url.searchParams.append("topic", topic));
  }
  for (const [name, value] of Object.entries(parameters)) {
    url.searchParams.set(name, value);
  }
  return url;
}

/** Asks for events after `cursor`. Throws `Refused` or `Later` unless there is content to read. */
export async function subscribe(url, { accept, cursor, signal }) {
  const headers = { Accept: accept };
  if (cursor) {
    headers["Last-Event-ID"] = cursor;
  }
  const response = await fetch(url, { headers, signal, cache: "no-store" });
  if (response.status === 200) {
    return response;
  }
  const words = await whatItSays(response);
  if (response.status >= 500 || [408, 425, 429].includes(response.status)) {
    throw new Later(words, 1000 * (Number(response.headers.get("Retry-After")) || 0));
  }
  throw new Refused(words);
}

/** Publishes `data` as one event and answers with the receipt. */
export async function publish(topic, type, data) {
  const url = eventsUrl([topic], type ? { type } : {});
  const headers = { "Content-Type": isJson(data) ? "application/json" : "text/plain; charset=utf-8" };
  const response = await fetch(url, { method: "POST", headers, body: data });
  if (!response.ok) {
    throw new Refused(await whatItSays(response));
  }
  return response.json();
}

/** Cuts a stream at the gateway, as a broken connection would. */
export async function cutStream(stream) {
  const response = await fetch(new URL(`streams/${encodeURIComponent(stream)}/cut`, base), { method: "POST" });
  if (!response.ok) {
    throw new Refused(await whatItSays(response));
  }
}

/** A status in words; those of the problem document (RFC 9457), if there is one. */
export async function whatItSays(response) {
  const type = response.headers.get("Content-Type") ?? "";
  const problem = type.startsWith("application/problem+json") ? await response.json().catch(() => ({})) : {};
  const words = [problem.title ?? response.statusText, problem.detail].filter(Boolean).join(": ");
  return words ? `${response.status}, ${words}` : `${response.status}`;
}

function isJson(text) {
  try {
    return typeof JSON.parse(text) === "object";
  } catch {
    return false;
  }
}
