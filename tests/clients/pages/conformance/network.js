// How streams begin, end and come back. In WPT's `eventsource/` these are `eventsource-*` and `request-*`; what a case
// stands for is named beside it.

import { at, check, equal, Watched } from "./harness.js";

check("eventsource-onopen: a silent topic is open at once", async (t) => {
  const stream = t.open();
  equal(await stream.opened(), EventSource.OPEN);
});

check("request-accept: an EventSource need not name its transport, neither in path nor query", async (t) => {
  const stream = t.open({ address: `${at.gateway}/events/${t.topic}` });
  equal((await stream.hello()).transport, "sse");
  await t.publish("one");
  await stream.reads("one");
});

check("request-cache-control: no stream is another's copy", async (t) => {
  await t.publish("one");
  const streams = [];
  for (let count = 0; count < 3; count += 1) {
    const stream = await t.greeted({ address: t.url(at.gateway, { lastEventId: "earliest" }) });
    await stream.reads("one");
    stream.source.close();
    streams.push(stream.greeting.stream);
  }
  equal(new Set(streams).size, 3);
});

check("eventsource-reconnect: it is CONNECTING, then OPEN, and goes on behind what it saw", async (t) => {
  const stream = await t.greeted();
  equal(await stream.opened(), EventSource.OPEN);
  await t.publish("one");
  await stream.reads("one");
  equal((await stream.cut()).resume, "resumed");
  equal(await stream.opened(), EventSource.OPEN);
  await t.publish("two");
  await stream.reads("two");
});

check("eventsource-reconnect: what is published while it is away comes once", async (t) => {
  const stream = await t.greeted();
  await t.publish("one");
  await stream.reads("one");
  await Promise.all([stream.cut(), t.publish("two"), t.publish("three")]);
  const seen = [await stream.data(), await stream.data()].sort();
  equal(seen, ["three", "two"]);
  await t.publish("four");
  await stream.reads("four");
});

check("eventsource-close: a closed one hears nothing more", async (t) => {
  const [closed, open] = [await t.greeted(), await t.greeted()];
  let heard = 0;
  ["message", "error", "open"].forEach((type) => closed.source.addEventListener(type, () => {
    heard += 1;
  }));
  closed.source.close();
  equal(closed.source.readyState, EventSource.CLOSED);
  await t.publish("one");
  await open.reads("one");
  // As long as it would take it to come back.
  equal((await open.cut()).resume, "resumed");
  equal(heard, 0, "heard after close");
});

check("request-cancellation: a frame that is removed takes its stream along", async (t) => {
  const frame = document.createElement("iframe");
  document.body.append(frame);
  const stream = new Watched(new frame.contentWindow.EventSource(t.url()));
  equal((await stream.hello()).resume, "new");
  frame.remove();
  // That no stream is left is looked at in the gateway's metrics at the end.
});

for (const [name, start] of [
  ["dedicated-worker", (script) => {
    const worker = new Worker(script);
    return [worker, () => worker.terminate()];
  }],
  ["shared-worker", (script) => {
    const { port } = new SharedWorker(script);
    port.start();
    return [port, () => port.postMessage("close")];
  }],
]) {
  check(`${name}: one reads like a page`, async (t) => {
    const [port, stop] = start(`/worker.js?${new URLSearchParams({ events: t.url() })}`);
    const told = [];
    let wake = () => {};
    port.onmessage = ({ data }) => {
      told.push(data);
      wake();
    };
    const next = async () => {
      while (told.length === 0) {
        await new Promise((resolve) => {
          wake = resolve;
        });
      }
      return told.shift();
    };
    equal(await next(), "new");
    await t.publish("one");
    equal(await next(), "one");
    stop();
  });
}

for (const credentials of [false, true]) {
  check(`eventsource-cross-origin: ${credentials ? "with" : "without"} credentials`, async (t) => {
    const stream = await t.greeted({ credentials });
    equal(stream.source.withCredentials, credentials);
    await t.publish("one");
    const { data, origin } = await stream.event();
    equal([data, origin], ["one", at.gateway]);
    equal((await stream.cut()).resume, "resumed");
  });
}

check("eventsource-cross-origin-preflight: Last-Event-ID may be sent by scripts, too", async (t) => {
  const id = await t.publish("one");
  await t.publish("two");
  const headers = { Accept: "text/event-stream", "Last-Event-ID": id, "Cache-Control": "no-cache" };
  const answer = await fetch(t.url(), { headers });
  equal(answer.headers.get("encke-resume"), "resumed");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("data: two\n\n")) {
    text += (await reader.read()).value;
  }
  await reader.cancel();
  equal(text.includes("data: one"), false, text);
});

for (const status of [301, 302, 303, 307]) {
  check(`request-redirect: ${status}; eventsource-cross-origin-redirect-origin`, async (t) => {
    const address = `${location.origin}/to-gateway/${status}`;
    // Where all of them lead.
    const topic = "to-gateway";
    const stream = await t.greeted({ address });
    equal(stream.source.url, address);
    await t.publish("one", { topic });
    const { data, origin } = await stream.event();
    equal([data, origin], ["one", at.gateway]);
    equal((await stream.cut()).resume, "resumed");
    await t.publish("two", { topic });
    await stream.reads("two");
  });
}

for (const [status, target] of [
  [400, "/events"], [400, "/events?topic="], [400, "/events?topic=a*b"], [400, "/events?topic=a&transport=none"], [404, "/nothing"],
]) {
  check(`request-status-error: ${status} at ${target} ends it for good`, async (t) => {
    const stream = t.open({ address: `${at.gateway}${target}` });
    equal(await stream.failed(), EventSource.CLOSED);
    equal((await fetch(`${at.gateway}${target}`, { headers: { Accept: "text/event-stream" }, mode: "cors" })).status, status);
  });
}

check("request-status-error: 401 ends it for good", async (t) => {
  const stream = t.open({ address: t.url(at.keyed) });
  equal(await stream.failed(), EventSource.CLOSED);
});

check("request-status-error: 204 ends it for good, where it asked to be closed at a gap", async (t) => {
  const stream = t.open({ address: t.url(at.gateway, { lastEventId: "00000000-1", ongap: "close" }) });
  equal((await stream.hello()).resume, "gap");
  equal(await stream.failed(), EventSource.CONNECTING, "once it was told so");
  equal(await stream.failed(), EventSource.CLOSED, "once it asked again");
});

check("reconnect-fail: an EventSource for which there is no room is told to come back, and does", async (t) => {
  const held = [await t.greeted({ address: t.url(at.small) }), await t.greeted({ address: t.url(at.small) })];
  const stream = t.open({ address: t.url(at.small) });
  equal(await stream.opened(), EventSource.OPEN);
  equal(await stream.failed(), EventSource.CONNECTING);
  held.forEach(({ source }) => source.close());
  equal((await stream.hello()).resume, "new");
});

for (const former of Object.keys(at).filter((name) => name.startsWith("former"))) {
  check(`cors-unsafe-last-event-id, format-field-id-null: an id of ${former} is a gap, and never an end`, async (t) => {
    const stream = t.open({ address: t.url(at[former]) });
    const { data, lastEventId } = await stream.event();
    equal(data, "of another server");
    equal(lastEventId.length > 0, true, "it has an id");
    equal(await stream.failed(), EventSource.CONNECTING);
    equal((await stream.hello()).resume, "gap");
    const { asked, reason } = await stream.gap();
    equal([reason, lastEventId.startsWith(asked) && asked.length > 0], ["unknown", true], asked);
    await t.publish("one");
    await stream.reads("one");
  });
}

check("two on one topic hear the same", async (t) => {
  const streams = [await t.greeted(), await t.greeted()];
  for (const data of ["one", "two", "three"]) {
    await t.publish(data);
  }
  await Promise.all(streams.map((stream) => stream.reads("one", "two", "three")));
});
