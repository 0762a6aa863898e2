// A browser's own EventSource on a page of the gateway's own origin, which only a debugger can put there. Each event is
// told as a line of JSON: [type, id, data].
//   node event-source-in-page.mjs DEBUGGER PROTOCOL PAGE EVENTS TYPE…

import puppeteer from "puppeteer-core";

const [browserWSEndpoint, protocol, address, events, ...types] = process.argv.slice(2);
const browser = await puppeteer.connect({ browserWSEndpoint, protocol });
const page = await browser.newPage();
await page.goto(address);
await page.exposeFunction("tell", (batch) => batch.forEach((event) => process.stdout.write(`${JSON.stringify(event)}\n`)));
await page.evaluate((events, types) => {
  let waiting = [];
  const tellSoon = (event) => {
    waiting.push(event);
    if (waiting.length === 1) {
      setTimeout(() => {
        window.tell(waiting);
        waiting = [];
      });
    }
  };
  const source = new EventSource(events);
  for (const type of types) {
    source.addEventListener(type, ({ type, lastEventId, data }) => tellSoon([type, lastEventId, data]));
  }
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      tellSoon(["closed for good", "", ""]);
    }
  });
}, events, types);
