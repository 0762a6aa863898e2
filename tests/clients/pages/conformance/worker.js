// An EventSource in a worker, which posts how it was greeted and each event's data.

const source = new EventSource(new URLSearchParams(location.search).get("events"));
const ports = [];
const told = [];

function tell(value) {
  told.push(value);
  ports.forEach((port) => port.postMessage(value));
}

source.addEventListener("encke.hello", ({ data }) => tell(JSON.parse(data).resume));
source.addEventListener("message", ({ data }) => tell(data));

if (globalThis.postMessage) {
  ports.push(globalThis);
} else {
  addEventListener("connect", ({ ports: [port] }) => {
    port.onmessage = () => source.close();
    told.forEach((value) => port.postMessage(value));
    ports.push(port);
  });
}
