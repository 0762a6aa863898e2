// What becomes of published bytes on their way through the encoder and the browser's parser. In WPT's `eventsource/` these
// are `event-data` and `format-*`; what a case stands for is named beside it.

import { at, check, equal, isFirefox } from "./harness.js";

/** Each of these is read as it was published, or as its second half says; then nothing but the end comes. */
function passes(name, ...texts) {
  check(name, async (t) => {
    const stream = await t.greeted();
    for (const [sent, expected = sent] of texts) {
      const id = await t.publish(sent);
      const { type, data, lastEventId, origin } = await stream.event();
      equal([type, data, lastEventId, origin], ["message", expected, id, at.gateway]);
    }
    await t.publish("end");
    await stream.reads("end");
  });
}

passes("event-data: lines, an empty event, and another", ["msg\nmsg"], [""], ["end"]);
passes("format-bom: a BOM in data stays", ["\ufeffone"], ["two\ufeff"], ["\n\ufeffthree"]);
passes("format-bom-2: so do two", ["\ufeff\ufeffone"]);
passes("format-leading-space: spaces and tabs stay", [" one"], ["  two"], ["\tthree"], [" "], [" \n  \n\t"], ["four "]);
passes(
  "format-newlines: CR and CRLF become LF, and none is lost",
  ["a\nb"], ["a\r\nb", "a\nb"], ["a\rb", "a\nb"], ["a\n\nb"], ["a\r\r\n\nb", "a\n\n\nb"], ["\n"], ["\r", "\n"], ["a\n"], ["\na"], ["\n\n\n"],
);
passes(
  "format-null-character: U+0000 in data",
  ...["\0one", "two\0", "\0", "a\0b\nc\0"].map((text) => [text, isFirefox ? text.replaceAll("\0", "") : text]),
);
passes("format-utf-8: characters of one to four bytes", ["ok…"], ["aé漢🛰"], ["\u0085\u2028\u2029\u000b\u000c"], ["\ufffd\u{10ffff}"]);
passes("format-field-data: no line, and two empty ones", [""], ["\n"]);
passes("format-comments: data that looks like one", [":x"], ["a\n:b\n:"], ["\r:", "\n:"]);
passes(
  "format-field-parsing, format-field-unknown: data that looks like fields is data",
  ["data:x\ndata\nDATA: y\ndata_5\n data: z"],
  ["id: 9-9\nevent: other\nretry: 1\n\nid: 8-8\n\n", "id: 9-9\nevent: other\nretry: 1\n\nid: 8-8\n\n"],
  ["a\rid: 9-9\revent: other\rretry: 1\r\rdata: b", "a\nid: 9-9\nevent: other\nretry: 1\n\ndata: b"],
);
passes("event-data: a long event comes whole", ["0123456789abcdé".repeat(60_000)], ["line\n".repeat(30_000)]);

check("format-utf-8: whatever the pieces", async (t) => {
  const texts = ["aé漢🛰", "a\n\nb", "", "\ufeffc", "end"];
  for (const text of texts) {
    await t.publish(text);
  }
  const stream = t.open({ address: t.url(at.bytewise, { lastEventId: "earliest" }) });
  await stream.reads(...texts);
});

check("format-bom: a stream does not begin with one", async (t) => {
  await t.publish("\ufeff");
  const answer = await fetch(t.url(at.gateway, { lastEventId: "earliest" }), { headers: { Accept: "text/event-stream" } });
  const reader = answer.body.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  equal(value.length > 0 && value[0] < 0x80, true, "begins with a field or a comment");
});

check("format-mime-*: the type is the bare one", async (t) => {
  const answer = await fetch(t.url(), { headers: { Accept: "text/event-stream" } });
  await answer.body.cancel();
  equal(answer.headers.get("content-type"), "text/event-stream");
});

check("format-mime-bogus: an answer of another type ends it for good", async (t) => {
  const stream = t.open({ address: t.url(at.gateway, { transport: "ndjson" }) });
  equal(await stream.failed(), EventSource.CLOSED);
});

check("format-data: bytes that are no text are an address of their data", async (t) => {
  const stream = await t.greeted();
  const bytes = [0, 255, 10, 13, 254];
  await t.publish(new Uint8Array(bytes), {}, { "Content-Type": "image/x-test" });
  const data = await stream.data();
  equal(data.startsWith("data:image/x-test;base64,"), true, data);
  equal([...atob(data.split(",")[1])].map((character) => character.charCodeAt(0)), bytes);
});

check("format-field-event: a type is heard by who asked for it, and by nobody else", async (t) => {
  const types = ["test", "ünï type", "a:b", " c "];
  const stream = await t.greeted({ types });
  for (const type of types) {
    await t.publish(`of ${type}`, { type });
    const event = await stream.event();
    equal([event.type, event.data], [type, `of ${type}`]);
  }
  await t.publish("of nobody", { type: "unheard" });
  await t.publish("plain");
  equal((await stream.event()).type, "message");
});

check("format-field-event-empty: no type is `message`", async (t) => {
  const stream = await t.greeted();
  await t.publish("one", { type: "message" });
  await t.publish("two");
  for (const data of ["one", "two"]) {
    const event = await stream.event();
    equal([event.type, event.data], ["message", data]);
  }
});

check("format-comments: heartbeats are seen by nobody", async (t) => {
  const quiet = await t.greeted({ address: t.url(at.gateway, { heartbeat: "5" }) });
  // Opened later, so that at its second heartbeat the first stream has had one.
  const clock = await t.greeted({ address: t.url(at.gateway, { heartbeat: "5", beat: "event" }), types: ["encke.heartbeat"] });
  equal([(await clock.event()).type, (await clock.event()).type], ["encke.heartbeat", "encke.heartbeat"]);
  await t.publish("end");
  await quiet.reads("end");
});

check("format-data-before-final-empty-line: a block that the end cuts off is dropped, and comes again", async (t) => {
  const stream = t.open({ address: t.url(at.cutBeforeBlank) });
  await stream.hello();
  await t.publish("before");
  const id = await t.publish("cut here");
  await stream.reads("before");
  equal(await stream.failed(), EventSource.CONNECTING);
  equal((await stream.hello()).resume, "resumed");
  const event = await stream.event();
  equal([event.data, event.lastEventId], ["cut here", id]);
  await t.publish("after");
  await stream.reads("after");
});

check("format-utf-8: a character that the end cuts off comes again", async (t) => {
  const stream = t.open({ address: t.url(at.cutInCharacter) });
  await stream.hello();
  await t.publish("before");
  await t.publish("half 漢字");
  await stream.reads("before");
  equal(await stream.failed(), EventSource.CONNECTING);
  equal((await stream.hello()).resume, "resumed");
  await stream.reads("half 漢字");
});

check("format-field-id: the id of an event is that of its receipt, and what comes without one keeps it", async (t) => {
  const stream = await t.greeted({
    address: t.url(at.gateway, { heartbeat: "5", beat: "event" }), types: ["encke.heartbeat"],
  });
  const id = await t.publish("one");
  equal((await stream.event()).lastEventId, id);
  const beat = await stream.event();
  equal([beat.type, beat.lastEventId], ["encke.heartbeat", id]);
});

check("format-field-id-2: the id outlives streams without events", async (t) => {
  const stream = await t.greeted();
  await t.publish("one");
  await stream.reads("one");
  for (const number of [2, 3, 4]) {
    equal((await stream.cut()).resume, "resumed", `resume ${number}`);
  }
  await t.publish("two");
  await stream.reads("two");
});

check("format-field-id-3, format-field-id: who has no id yet begins where the first stream did", async (t) => {
  const stream = await t.greeted();
  equal((await stream.cut()).resume, "resumed");
  await t.publish("one");
  await stream.reads("one");
});

check("format-field-retry: it is waited for so long", async (t) => {
  const stream = await t.greeted({ address: t.url(at.gateway, { retry: "2500" }) });
  let [failed, opened] = [0, 0];
  stream.source.addEventListener("error", () => {
    failed = performance.now();
  });
  stream.source.addEventListener("open", () => {
    opened = performance.now();
  });
  await stream.cut();
  // Timers of pages are coarse.
  equal(opened - failed > 2400, true, `waited ${opened - failed} ms`);
});

check("format-field-retry-bogus, -empty: what is no number is refused, not handed on", async (t) => {
  for (const retry of ["1s", "", "x"]) {
    equal(await t.open({ address: t.url(at.gateway, { retry }) }).failed(), EventSource.CLOSED, `retry=${retry}`);
  }
});
