// One transport on the page: its state, its figures, its last events. Published data is only ever set as text.

import { Sequence } from "./sequence.js";

const LINES = 50;
const LONGEST_DATA = 500;
const SLOW_CONNECT = 6000;

export class Column {
  #section;
  #open;
  #transport;
  #subscription;
  #stream = null;
  #state = "connecting";
  #note = "";
  #brokenAt = null;
  #cursor = "";
  #figures = { events: 0, resumes: 0, gaps: 0, polls: 0 };
  #sequence = new Sequence();
  #lines = [];
  #drawing = false;
  #slow = null;

  /** `open(subscription, report)` opens a stream and answers how to cut and close it; `this` is its report. */
  constructor(template, { transport, open }, subscription) {
    this.#section = template.content.firstElementChild.cloneNode(true);
    this.#open = open;
    this.#transport = transport;
    this.#subscription = subscription;
    this.#label();
  }

  get element() {
    return this.#section;
  }

  /** The last event ID that the stream would resume with. */
  get lastEventId() {
    return this.#cursor;
  }

  /** Opens the stream; after its cursor, if it was open before. */
  start() {
    this.#close();
    const start = this.#cursor ? { lastEventId: this.#cursor } : this.#subscription.start;
    this.#stream = this.#open({ ...this.#subscription, start }, this);
  }

  /** Gives the connection back for a while. */
  pause(words) {
    if (this.#stream && this.#state !== "closed") {
      this.#close();
      this.state("waiting", words);
    }
  }

  /** Ends a pause. */
  resume() {
    if (!this.#stream) {
      this.start();
    }
  }

  // What a transport reports.

  /** `connecting`, `open`, `waiting` (cut off, will come back) or `closed` (for good), and why. */
  state(name, words = "") {
    if (name === "waiting" || name === "closed") {
      this.#brokenAt ??= performance.now();
    }
    this.#state = name;
    this.#note = words || (name === "open" ? this.#cutWords() : "");
    clearTimeout(this.#slow);
    if (name === "connecting") {
      this.#slow = setTimeout(() => {
        this.#note = "No answer yet. A browser opens six connections to an HTTP/1.1 server: another tab of this page "
          + "may hold them.";
        this.#draw();
      }, SLOW_CONNECT);
    }
    this.#draw();
  }

  /** A stream begins: new, resumed, or with a gap. */
  hello({ resume }) {
    if (this.#brokenAt !== null) {
      const away = ((performance.now() - this.#brokenAt) / 1000).toFixed(1);
      this.#figures.resumes += resume === "resumed" || resume === undefined ? 1 : 0;
      this.#say(`back after ${away} s${resume ? `, ${resume}` : ""}`);
      this.#brokenAt = null;
    }
    this.#draw();
  }

  /** Events that were asked for are gone, and the gateway says so. */
  gap({ reason, lost }) {
    this.#figures.gaps += 1;
    this.#sequence.gap();
    this.#say(`gap: ${reason}, ${lost === null || lost === undefined ? "nobody knows how many" : lost} lost`);
    this.#draw();
  }

  bye({ reason }) {
    this.#say(`the gateway ended the stream: ${reason}`);
    this.#draw();
  }

  cursor(id) {
    this.#cursor = id || this.#cursor;
    this.#draw();
  }

  polled() {
    this.#figures.polls += 1;
  }

  event(event) {
    this.#figures.events += 1;
    this.#sequence.take(event);
    this.#line({ event });
    this.cursor(event.id);
  }

  /** The image that a transport of pictures fills. */
  picture(words) {
    const figure = this.#section.querySelector("figure");
    const image = document.createElement("img");
    image.alt = words;
    figure.replaceChildren(image);
    figure.hidden = false;
    return image;
  }

  #close() {
    this.#stream?.close();
    this.#stream = null;
  }

  // How it looks.

  #label() {
    const { title, name, about, cutHere, unit } = this.#transport;
    const heading = this.#section.querySelector("h2");
    heading.textContent = title;
    heading.id = `title-${name}`;
    this.#section.setAttribute("aria-labelledby", heading.id);
    this.#section.querySelector(".about").textContent = about;
    const button = this.#section.querySelector(".cut");
    button.title = cutHere ? "Ends the connection in the browser" : "Ends the stream as a broken connection would";
    button.addEventListener("click", () => this.#pressed());
    this.#section.querySelector(".events").setAttribute("aria-label", `Last ${unit ?? "events"} over ${name}`);
    this.#section.querySelector(".proof").hidden = Boolean(cutHere);
  }

  async #pressed() {
    if (this.#state === "closed") {
      this.start();
      return;
    }
    this.#say("cut");
    try {
      await this.#stream?.cut();
    } catch (error) {
      this.#say(`it could not be cut: ${error.message}`);
    }
  }

  #cutWords() {
    return this.#transport.cutHere ? "ends it in the browser" : "cuts it like a broken connection";
  }

  #say(words) {
    this.#line({ words });
    this.#draw();
  }

  #line(line) {
    this.#lines.push(line);
    if (this.#lines.length > LINES) {
      this.#lines.shift();
    }
  }

  /** Draws once a frame, however much came in between. */
  #draw() {
    if (!this.#drawing) {
      this.#drawing = true;
      requestAnimationFrame(() => {
        this.#drawing = false;
        this.#drawNow();
      });
    }
  }

  #drawNow() {
    const find = (selector) => this.#section.querySelector(selector);
    this.#section.dataset.state = this.#state;
    setText(find(".state"), this.#state);
    setText(find(".note"), this.#note);
    const button = find(".cut");
    setText(button, this.#state === "closed" ? "Open again" : "Cut");
    button.disabled = this.#state === "connecting" || this.#state === "waiting";
    this.#drawFigures(find("dl"));
    this.#drawProof(find(".proof"));
    const events = find(".events");
    events.prepend(...this.#lines.splice(0).map(drawnLine).reverse());
    while (events.childElementCount > LINES) {
      events.lastElementChild.remove();
    }
  }

  #drawFigures(list) {
    const { name, unit = "events", cutHere } = this.#transport;
    const { events, resumes, gaps, polls } = this.#figures;
    const rows = [["transport", name], [unit, polls ? `${events} in ${polls} polls` : events], ["resumes", resumes]];
    if (!cutHere) {
      rows.push(["gaps", gaps], ["cursor", this.#cursor || "–"]);
    }
    while (list.childElementCount < rows.length) {
      const row = document.createElement("div");
      row.append(document.createElement("dt"), document.createElement("dd"));
      list.append(row);
    }
    rows.forEach(([term, value], index) => {
      const [dt, dd] = list.children[index].children;
      setText(dt, term);
      setText(dd, String(value));
    });
  }

  #drawProof(proof) {
    const { missed, doubled, numbered } = this.#sequence;
    setText(proof, numbered ? `missed ${missed}, doubled ${doubled}` : `missed unknown, doubled ${doubled}`);
    proof.dataset.proof = missed + doubled > 0 ? "broken" : numbered ? "holds" : "unknown";
    proof.title = numbered
      ? "Counted by the page from the number n in the data and from the cursors"
      : "The data has no number n, so only repeated cursors can be counted";
  }
}

function drawnLine({ words, event }) {
  const line = document.createElement("li");
  if (words !== undefined) {
    line.className = "said";
    line.textContent = words;
    return line;
  }
  const at = new Date(event.time ?? Date.now());
  const time = document.createElement("time");
  time.textContent = at.toLocaleTimeString([], { hour12: false });
  time.dateTime = event.time ?? "";
  const data = document.createElement("code");
  data.textContent = shortData(event);
  line.append(time, " ");
  if (event.type && event.type !== "message") {
    const type = document.createElement("b");
    type.textContent = event.type;
    line.append(type, " ");
  }
  line.append(data);
  line.title = [event.id, event.topic, event.key].filter(Boolean).join(" · ");
  return line;
}

function shortData({ data, encoding, contentType }) {
  if (encoding === "base64") {
    return `${contentType ?? "bytes"}, ${Math.floor((data.length * 3) / 4)} bytes`;
  }
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return text.length > LONGEST_DATA ? `${text.slice(0, LONGEST_DATA)}…` : text;
}

function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}
