// socket.io on Node: `emit` to everybody.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { listen, obey } from "./driving.js";

const server = createServer();
const io = new Server(server, { perMessageDeflate: false, transports: ["websocket"] });

listen(server);
// As text the number of nanoseconds would be quoted; as a number it keeps 53 bits, and there are some 2^47 to count.
obey((text) => io.emit("update", JSON.parse(text)));
