// faye with its engine in memory; subscribers come by its EventSource transport.
import http from "node:http";
import faye from "faye";

const server = http.createServer((request, response) => response.writeHead(404).end());
new faye.NodeAdapter({ mount: "/bayeux", timeout: 600 }).attach(server);
server.keepAliveTimeout = 3_600_000;
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
