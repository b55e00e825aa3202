// A client of Socket.IO on a lab host: one line of JSON on what happened. Arguments: URL, address, root.pem.
// In Node.js, unlike in a browser, cookies have to be switched on.
const { readFileSync } = require("node:fs");
const { io } = require("socket.io-client");

const [, , url, transport, rootPem] = process.argv;

function connected() {
  const socket = io(url, {
    ca: readFileSync(rootPem),
    forceNew: true,
    reconnection: false,
    transports: transport.split(","),
    withCredentials: true,
  });
  return new Promise((settle, fail) => {
    socket.on("connect_error", fail);
    socket.on("disconnect", (reason) => fail(new Error(reason)));
    socket.on("welcome", (welcome) => settle({ socket, welcome }));
  });
}

function upgraded({ socket }) {
  const { engine } = socket.io;
  if (engine.transport.name === "websocket") return "websocket";
  if (!transport.includes("websocket")) return "polling";
  return new Promise((settle, fail) => {
    engine.once("upgrade", () => settle("websocket"));
    engine.once("upgradeError", fail);
  });
}

async function main() {
  const clients = await Promise.all(Array.from({ length: 6 }, connected));
  const transports = await Promise.all(clients.map(upgraded));
  const heard = Promise.all(
    clients.map(({ socket }) => new Promise((settle) => socket.once("chat", settle))),
  );
  clients[0].socket.emit("chat", "grüße");
  // Polling encodes it, and Socket.IO accepts 1 MB.
  const sent = Buffer.alloc(600_000, 7);
  const back = await Promise.all(clients.map(({ socket }) => socket.emitWithAck("echo", sent)));
  console.log(
    JSON.stringify({
      welcomes: clients.map(({ welcome }) => welcome),
      transports,
      heard: await heard,
      echoed: back.every((each) => sent.equals(each)),
    }),
  );
  process.exit(0);
}

main().catch((error) => {
  console.log(JSON.stringify({ error: String(error.description ?? error), message: error.message }));
  process.exit(1);
});
