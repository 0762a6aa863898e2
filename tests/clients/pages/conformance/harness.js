// What the conformance cases stand on: a case is a name and a function that throws when the browser, fed by the real
// gateway, does not do what the standard says (WHATWG HTML § 9.2).

const given = new URLSearchParams(location.search);

/** Addresses by name: the gateway, and what stands before it. */
export const at = Object.fromEntries(given);

export const isFirefox = navigator.userAgent.includes("Firefox/");

const PATIENCE = 40_000;
const cases = [];

/** Adds a case. */
export function check(name, body) {
  cases.push([name, body]);
}

/** Runs all cases that were added, and reports each as `[name, what is wrong or null]`, then `null`. */
export async function run() {
  for (const [index, [name, body]] of cases.entries()) {
    const one = new Case(`conformance/${index}`);
    let wrong = null;
    try {
      await within(body(one), "the case to end");
    } catch (error) {
      wrong = String(error.stack ?? error);
    }
    one.end();
    await report([name, wrong]);
  }
  await report(null);
}

export function equal(seen, expected, words = "seen") {
  const [one, other] = [JSON.stringify(seen), JSON.stringify(expected)];
  if (one !== other) {
    throw new Error(`${words}: ${one} where ${other} was expected`);
  }
}

function within(promise, words) {
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`waited in vain for ${words}`)), PATIENCE);
  });
  return Promise.race([promise, late]);
}

/** What a case may do, on a topic of its own. */
class Case {
  #streams = [];

  constructor(topic) {
    this.topic = topic;
  }

  /** Publishes; gives the id of the event. */
  async publish(data, query = {}, headers = {}) {
    const target = `${at.gateway}/events?${new URLSearchParams({ topic: this.topic, ...query })}`;
    const answer = await fetch(target, { method: "POST", body: data, headers });
    equal(answer.ok, true, `published ${JSON.stringify(data)}: ${answer.status}`);
    return (await answer.json()).id;
  }

  /** The address of the topic's events. */
  url(base = at.gateway, query = {}) {
    return `${base}/events?${new URLSearchParams({ topic: this.topic, retry: "500", ...query })}`;
  }

  /** Opens the topic, or `address`. */
  open({ address = this.url(), types = [], credentials = false } = {}) {
    const stream = new Watched(new EventSource(address, { withCredentials: credentials }), types);
    this.#streams.push(stream);
    return stream;
  }

  /** The same, once the gateway has greeted. */
  async greeted(options) {
    const stream = this.open(options);
    stream.greeting = await stream.hello();
    return stream;
  }

  end() {
    this.#streams.forEach(({ source }) => source.close());
  }
}

/** An `EventSource`, and what it told. */
export class Watched {
  #told = { opened: [], failed: [], hello: [], gap: [], event: [] };
  #waiting = {};

  constructor(source, types = []) {
    this.source = source;
    source.addEventListener("open", () => this.#tell("opened", source.readyState));
    source.addEventListener("error", () => this.#tell("failed", source.readyState));
    source.addEventListener("encke.hello", ({ data }) => this.#tell("hello", JSON.parse(data)));
    source.addEventListener("encke.gap", ({ data }) => this.#tell("gap", JSON.parse(data)));
    for (const type of ["message", ...types]) {
      source.addEventListener(type, (event) => this.#tell("event", event));
    }
  }

  #tell(kind, value) {
    if (this.#waiting[kind]) {
      this.#waiting[kind](value);
      delete this.#waiting[kind];
    } else {
      this.#told[kind].push(value);
    }
  }

  #next(kind) {
    if (this.#told[kind].length > 0) {
      return Promise.resolve(this.#told[kind].shift());
    }
    return within(new Promise((resolve) => {
      this.#waiting[kind] = resolve;
    }), kind);
  }

  /** The `readyState` at the next `open`. */
  opened() {
    return this.#next("opened");
  }

  /** The `readyState` at the next `error`. */
  failed() {
    return this.#next("failed");
  }

  hello() {
    return this.#next("hello");
  }

  gap() {
    return this.#next("gap");
  }

  event() {
    return this.#next("event");
  }

  async data() {
    return (await this.event()).data;
  }

  /** The next so many events are these, in this order. */
  async reads(...expected) {
    for (const data of expected) {
      equal(await this.data(), data, "data");
    }
  }

  /** Has the gateway break the stream; gives what it says once the browser is back. */
  async cut() {
    const answer = await fetch(`${at.gateway}/streams/${this.greeting.stream}/cut`, { method: "POST" });
    equal(answer.status, 204, "status of the cut");
    equal(await this.failed(), EventSource.CONNECTING, "state when the stream is cut");
    this.greeting = await this.hello();
    return this.greeting;
  }
}
