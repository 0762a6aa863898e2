// Opens a page in a browser whose debugger listens, and at each SIGUSR2 hides its tab behind another or shows it again.
// It tells each change once the page knows of it: `visible` or `hidden`.
//   node hidden-tab.mjs DEBUGGER PROTOCOL PAGE

import puppeteer from "puppeteer-core";

const [browserWSEndpoint, protocol, address] = process.argv.slice(2);
const browser = await puppeteer.connect({ browserWSEndpoint, protocol });
const other = await browser.newPage();
const page = await browser.newPage();
await page.goto(address);

async function bring(front, state) {
  await front.bringToFront();
  await page.waitForFunction((state) => document.visibilityState === state, { polling: 100 }, state);
  console.log(state);
}

let changes = bring(page, "visible");
let shown = true;
process.on("SIGUSR2", () => {
  shown = !shown;
  const [front, state] = shown ? [page, "visible"] : [other, "hidden"];
  changes = changes.then(() => bring(front, state));
});
