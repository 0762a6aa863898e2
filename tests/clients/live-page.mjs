// Uses the live page as a visitor would, in a browser whose debugger listens, and takes its picture.
//   node live-page.mjs DEBUGGER PROTOCOL GATEWAY PICTURES
// It ends with an error when the page does not do what it should; `kill the gateway` on a line asks the test for that.

import assert from "node:assert/strict";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

const PATIENCE = 60_000;
const TRANSPORTS = ["sse", "ndjson", "long-poll", "multipart-replace"];
const NUMBERED = TRANSPORTS.slice(0, 3);

const [browserWSEndpoint, protocol, gateway, pictures] = process.argv.slice(2);
const name = protocol === "cdp" ? "chromium" : "firefox";
const browser = await puppeteer.connect({ browserWSEndpoint, protocol, defaultViewport: null });
const page = await browser.newPage();

const complaints = [];
page.on("console", (message) => {
  if (["error", "warn"].includes(message.type())) {
    complaints.push(`console: ${message.text()}`);
  }
});
page.on("pageerror", (error) => complaints.push(`script: ${error.message}`));
await page.exposeFunction("violated", (words) => complaints.push(`policy: ${words}`));
await page.evaluateOnNewDocument(() => {
  document.addEventListener("securitypolicyviolation", (event) => {
    window.violated(`${event.violatedDirective} ${event.blockedURI}`);
  });
});

/** What each column shows, by transport. */
function columns() {
  return page.evaluate(() => Object.fromEntries([...document.querySelectorAll(".column")].map((section) => {
    const rows = [...section.querySelectorAll("dl div")].map(({ children: [term, value] }) => [term.textContent, value.textContent]);
    const figures = Object.fromEntries(rows);
    return [figures.transport, {
      state: section.dataset.state,
      events: parseInt(figures.events ?? figures.pictures, 10),
      resumes: Number(figures.resumes),
      gaps: Number(figures.gaps ?? 0),
      // The part of a cursor that differs from one start of the gateway to the next.
      epoch: figures.cursor?.split("-")[0],
      proof: section.querySelector(".proof").textContent,
      lines: [...section.querySelectorAll(".events code")].map((line) => line.textContent),
    }];
  })));
}

/** Waits until every one of these columns is as `holds` says. */
async function until(words, transports, holds) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const shown = await columns();
    if (transports.every((transport) => shown[transport] && holds(shown[transport], transport))) {
      return shown;
    }
    assert.ok(Date.now() < deadline, `${words}: ${JSON.stringify(shown, null, 1)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Every event came once, and the page says so. */
function assertWhole(shown) {
  for (const transport of NUMBERED) {
    assert.equal(shown[transport].proof, "missed 0, doubled 0", transport);
    assert.equal(shown[transport].gaps, 0, transport);
  }
}

async function picture(width, height) {
  await page.setViewport({ width, height });
  await page.waitForFunction((width) => innerWidth === width, {}, width);
  const widest = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(widest <= width, `at ${width} pixels the page is ${widest} wide`);
  await page.screenshot({ path: join(pictures, `live-${width}-${name}.png`), fullPage: true });
}

await page.goto(gateway);
const first = await until("events in every column", TRANSPORTS, ({ state, events }) => state === "open" && events >= 3);
assertWhole(first);
assert.deepEqual(complaints, []);

// Cut by its button, every transport comes back and goes on.
for (const transport of TRANSPORTS) {
  await page.click(`section[aria-labelledby="title-${transport}"] .cut`);
}
const back = await until("every column back after its cut", TRANSPORTS, ({ state, events, resumes }, transport) =>
  state === "open" && resumes >= 1 && events >= first[transport].events + 3);
assertWhole(back);

// What is published from the form is shown as text, whatever it is.
const hello = "hello <img src=x onerror=alert(1)>";
await page.$eval("#publish textarea", (area, data) => {
  area.value = data;
}, hello);
await page.click("#publish button");
await page.waitForFunction(() => document.querySelector("#publish output").textContent.startsWith("stored as "));
assertWhole(await until("the published text", NUMBERED, ({ lines }) => lines.includes(hello)));
assert.equal(await page.$(".events img"), null);
assert.deepEqual(complaints.filter((words) => !isOfACut(words)), []);

await picture(360, 740);
await picture(1280, 900);

console.log("kill the gateway");
// Firefox sends a poll that found a dead connection again by itself, so that the page sees no break.
const again = await until("every column back after the crash", TRANSPORTS, ({ state, events, resumes, epoch }, transport) =>
  state === "open" && (transport === "long-poll" || resumes > back[transport].resumes)
    && (transport === "multipart-replace" || epoch !== back[transport].epoch) && events >= back[transport].events + 3);
assertWhole(again);
assert.ok(!again["multipart-replace"].lines.includes("picture 0 × 0"), "a picture that broke off is not a new one");
assert.deepEqual(complaints.filter((words) => !isOfACut(words)), []);

console.log("done");
await browser.disconnect();

/** Browsers complain of a connection that breaks; here they are broken on purpose. */
function isOfACut(words) {
  return /net::ERR_|NetworkError|was interrupted while the page was loading|can’t establish a connection/.test(words);
}
