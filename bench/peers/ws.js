// Node's `ws`: a loop that sends to one WebSocket after the other.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { listen, obey } from "./driving.js";

const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on("connection", (socket) => socket.on("message", (text) => socket.send(text.toString())));

listen(server);
obey((text) => {
  for (const socket of sockets.clients) socket.send(text);
});
