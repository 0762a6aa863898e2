// The live page: one topic over each transport, side by side.

import { Column } from "./column.js";
import { showCommands } from "./commands.js";
import * as eventStream from "./event-stream.js";
import { base, publish } from "./gateway.js";
import * as jsonLines from "./json-lines.js";
import * as longPoll from "./long-poll.js";
import * as part from "./part.js";

const wanted = wantedBy(location);
const byId = (id) => document.getElementById(id);

const columns = [eventStream, jsonLines, longPoll, part].map((module) => new Column(byId("column"), module, wanted));
byId("columns").append(...columns.map((column) => column.element));
columns.forEach((column) => column.start());

const follow = byId("subscribe").elements;
follow.topic.value = wanted.topics.join(", ");
follow.picture.value = wanted.picture;
follow.types.value = wanted.types.join(", ");
document.title = `${wanted.topics.join(", ")} – Encke live`;

const form = byId("publish");
form.elements.topic.value = wanted.topics.find((topic) => !topic.includes("*")) ?? "";
form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit(form.elements, form.querySelector("output"));
});

const newestCursor = () => columns.map((column) => column.lastEventId).find(Boolean) ?? "";
const commandsOf = () => showCommands(byId("commands"), byId("command"), wanted.topics, newestCursor);
commandsOf();
// Once more when there is a cursor to resume from; after that what is shown stays, so that it can be selected.
const untilCursor = setInterval(() => {
  if (newestCursor()) {
    commandsOf();
    clearInterval(untilCursor);
  }
}, 500);

// A browser opens only six connections to one HTTP/1.1 server, for all tabs together, and this page holds four. So it
// gives them back when nobody looks, and resumes when somebody does.
const HIDDEN_FOR = 10_000;
const pauseAll = (words) => columns.forEach((column) => column.pause(words));
const resumeAll = () => columns.forEach((column) => column.resume());
let hidden;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) {
    hidden = setTimeout(() => pauseAll("paused while the tab is hidden"), HIDDEN_FOR);
  } else {
    resumeAll();
  }
});
addEventListener("pagehide", () => pauseAll("paused while the page is away"));
addEventListener("pageshow", resumeAll);

/** What the address asks for: `events/{topic}`, or `?topic=` once or several times; and where to begin. */
function wantedBy({ pathname, search }) {
  const query = new URLSearchParams(search);
  const named = query.getAll("topic").flatMap(listed);
  const events = `${base.pathname}events/`;
  const path = pathname.startsWith(events) ? [decoded(pathname.slice(events.length))] : [];
  const topics = [...new Set([...path, ...named].filter(Boolean))];
  const begin = ["lastEventId", "since", "last", "type"].filter((name) => query.has(name));
  return {
    topics: topics.length > 0 ? topics : ["demo/clock"],
    picture: query.get("picture") || "demo/picture",
    types: listed(query.get("types") ?? query.get("type") ?? "message, tick"),
    start: Object.fromEntries(begin.map((name) => [name, query.get(name)])),
  };
}

/** A comma alone may be part of a topic; with a space after it, it separates two. */
function listed(text) {
  return text.split(/,\s+/).map((word) => word.trim()).filter(Boolean);
}

function decoded(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

async function submit({ topic, type, data }, output) {
  output.textContent = "…";
  try {
    const receipt = await publish(topic.value, type.value, data.value);
    output.textContent = `stored as ${receipt.id} (${receipt.durability})`;
  } catch (error) {
    output.textContent = `not stored: ${error.message}`;
  }
}
