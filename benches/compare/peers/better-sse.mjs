// better-sse with a channel for each topic.
import http from "node:http";
import { createChannel, createSession } from "better-sse";

const channels = new Map();

function channel(topic) {
  let found = channels.get(topic);
  if (!found) {
    found = createChannel();
    channels.set(topic, found);
  }
  return found;
}

const server = http.createServer(async (request, response) => {
  if (request.method === "GET") {
    channel(request.url).register(await createSession(request, response));
    return;
  }
  let data = "";
  for await (const part of request) data += part;
  channel(request.url).broadcast(data);
  response.writeHead(200, { "Content-Length": 0 }).end();
});
server.keepAliveTimeout = 3_600_000;
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
