// Pictures that replace one another in one <img>: multipart/x-mixed-replace, with no script in the transport at all.
//
// An <img> tells a script neither its stream nor that it ended. So the page looks at the pixels: Firefox fires `load` for
// each part, Chromium only for the first.

import { eventsUrl } from "./gateway.js";

export const transport = {
  name: "multipart-replace",
  title: "Multipart",
  about: "A plain <img>: each part replaces the one before. It shows the newest state and keeps no history.",
  unit: "pictures",
  cutHere: true,
};

const LOOK_EVERY = 200;
const COME_BACK_AFTER = 2000;
const LONGEST_WAIT = 30_000;
const SHORTEST_SILENCE = 6000;
/** After how many pictures their rhythm is known. */
const RHYTHM = 3;

export function open({ picture }, report) {
  const url = eventsUrl([picture], { transport: "multipart-replace" });
  const image = report.picture(`the newest picture of ${picture}`);
  const looks = setInterval(look, LOOK_EVERY);
  let timer = null;
  let pixels = null;
  let seen = 0;
  let since = 0;
  let last = 0;
  let failures = 0;
  let inVain = 0;

  image.addEventListener("load", shown);
  image.addEventListener("error", failed);
  show();

  function show() {
    report.state("connecting");
    seen = 0;
    pixels = null;
    image.src = url;
  }

  function shown() {
    last = performance.now();
    failures = 0;
    seen += 1;
    if (seen === 1) {
      since = last;
      report.state("open");
      report.hello({});
    }
    pixels = fingerprint(image);
    report.event({ type: "message", time: new Date().toISOString(), data: `picture ${image.naturalWidth} × ${image.naturalHeight}` });
  }

  function look() {
    if (seen === 0 || document.hidden) {
      last = performance.now();
      return;
    }
    const now = fingerprint(image);
    if (now === null) {
      // Chromium takes the picture away when its connection breaks, and fires nothing.
      comeBack("the picture broke off");
    } else if (now !== pixels) {
      shown();
    } else if (performance.now() - last > longestSilence()) {
      inVain = seen > RHYTHM ? 0 : Math.min(inVain + 1, 6);
      comeBack("no new picture");
    }
  }

  /** After what time without a picture the connection counts as dead, which Firefox does not tell. */
  function longestSilence() {
    // Before the rhythm is known, a topic may just be quiet: it is asked again less and less often.
    return seen > RHYTHM ? Math.max(SHORTEST_SILENCE, (5 * (last - since)) / seen) : SHORTEST_SILENCE * 2 ** inVain;
  }

  function failed() {
    comeBack("no picture came");
    failures += 1;
  }

  function comeBack(words) {
    const wait = Math.min(LONGEST_WAIT, COME_BACK_AFTER * 2 ** failures);
    seen = 0;
    image.removeAttribute("src");
    report.state("waiting", `${words}; asks again in ${wait / 1000} s`);
    clearTimeout(timer);
    timer = setTimeout(show, wait);
  }

  return {
    close() {
      clearInterval(looks);
      clearTimeout(timer);
      image.removeEventListener("load", shown);
      image.removeEventListener("error", failed);
      image.removeAttribute("src");
    },
    async cut() {
      comeBack("cut in the browser");
    },
  };
}

const canvas = document.createElement("canvas");
canvas.width = 112;
canvas.height = 36;
const context = canvas.getContext("2d", { willReadFrequently: true });

/** A number that differs when the picture does, for all that matters. */
function fingerprint(image) {
  if (image.naturalWidth === 0) {
    return null;
  }
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((hash, byte) => (Math.imul(hash, 31) + byte) | 0, 0);
}
