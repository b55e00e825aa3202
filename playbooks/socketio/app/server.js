// A Socket.IO service with several workers, each on a port of its own: the proxy chooses the worker, and keeps it.
const cluster = require("node:cluster");
const { createServer } = require("node:http");
const { createAdapter, setupPrimary } = require("@socket.io/cluster-adapter");
const { Server } = require("socket.io");

const ports = process.env.PORTS.split(" ").map(Number);

if (cluster.isPrimary) {
  setupPrimary(); // passes messages for all clients from worker to worker
  const fork = (port) => cluster.fork({ PORT: port }).on("exit", () => setTimeout(fork, 1000, port));
  ports.forEach(fork);
} else {
  const http = createServer((request, response) => {
    response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" });
    response.end('<!doctype html><title>Chat</title><script src="/socket.io/socket.io.js"></script>');
  });
  const io = new Server(http, { adapter: createAdapter() });
  io.on("connection", (socket) => {
    const { headers } = socket.handshake;
    // The proxy sets X-Real-IP; the address of the connection is the proxy's.
    socket.emit("welcome", { port: process.env.PORT, address: headers["x-real-ip"], host: headers.host });
    socket.on("chat", (text) => io.emit("chat", text)); // to the clients of all workers
    socket.on("echo", (value, answer) => answer(value));
  });
  http.listen({ host: "127.0.0.1", port: process.env.PORT, exclusive: true });
}
