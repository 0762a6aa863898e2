// What a page of an origin that is not listed can do: send a request, and see nothing of its answer.

const url = new URLSearchParams(location.search).get("url");

async function outcome(options) {
  try {
    return (await fetch(url, { ...options, cache: "no-store" })).type;
  } catch (error) {
    return error.name;
  }
}

function eventSource() {
  return new Promise((resolve) => {
    const source = new EventSource(url.replace("long-poll", "sse"));
    source.addEventListener("open", () => resolve("open"));
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) {
        resolve("closed");
      }
    });
  });
}

report({
  reached: await outcome({ mode: "no-cors" }),
  read: await outcome({}),
  resumed: await outcome({ headers: { "Last-Event-ID": "earliest" } }),
  eventSource: await eventSource(),
});
