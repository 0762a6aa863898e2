// The same as the page does, as commands for a terminal.

import { eventsUrl } from "./gateway.js";

/** Fills `list`. `lastEventId()` is asked when a command that resumes is shown or copied. */
export function showCommands(list, template, topics, lastEventId) {
  const plain = quoted(eventsUrl(topics));
  const poll = quoted(eventsUrl(topics, { transport: "long-poll" }));
  const commands = [
    ["Follow as server-sent events", () => `curl -N ${plain}`],
    ["Follow as JSON lines", () => `curl -N -H 'Accept: application/x-ndjson' ${plain}`],
    ["Resume after an event, here or on any other transport", () =>
      `curl -N -H ${quoted(`Last-Event-ID: ${lastEventId()}`)} ${plain}`],
    ["Ask once, by long polling", () => `curl ${poll}`],
  ];
  if (!topics.some((topic) => topic.includes("*"))) {
    commands.push(["Publish", () => `curl -d 'hello' ${quoted(eventsUrl(topics.slice(0, 1)))}`]);
  }
  list.replaceChildren(...commands.map(([words, command]) => row(template, words, command)));
}

function row(template, words, command) {
  const item = template.content.firstElementChild.cloneNode(true);
  const code = item.querySelector("code");
  const button = item.querySelector("button");
  item.querySelector("p").textContent = words;
  item.querySelector("pre").setAttribute("aria-label", words);
  button.setAttribute("aria-label", `Copy: ${words}`);
  code.textContent = command();
  button.addEventListener("click", async () => {
    code.textContent = command();
    button.textContent = (await copied(code)) ? "Copied" : "Selected";
    setTimeout(() => {
      button.textContent = "Copy";
    }, 1500);
  });
  return item;
}

/** Copies what `element` shows. Where the clipboard is closed (no secure context), it is selected for the user. */
async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return false;
  }
}

/** One word for a POSIX shell. */
function quoted(text) {
  const word = String(text);
  return /^[\w.:/@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
