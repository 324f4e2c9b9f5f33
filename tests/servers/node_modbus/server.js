// A Modbus/TCP server on modbus-serial that obeys commands: one a line on standard input, one answer a line on standard
// output ("ok ..." or "error ..."). It ends when standard input ends. Arguments: port, unit id; other units get no answer.
//
//   set <table> <address> <value>...   put values into coil, discrete, input or holding
//   get <table> <address> <count>      say values
//   end <table> <address>              reads and writes from this address on are illegal
//   delay <ms> <n>                     the next n registers that are read take so long
//   hangup                             all connections end
"use strict";

const readline = require("readline");
const { ServerTCP } = require("modbus-serial");

const CELLS = 65536;
const [port, unit] = process.argv.slice(2).map(Number);
const tables = Object.fromEntries(["coil", "discrete", "input", "holding"].map((name) => [name, new Uint16Array(CELLS)]));
const ends = { coil: CELLS, discrete: CELLS, input: CELLS, holding: CELLS };
const sockets = new Set();
let delay = { ms: 0, left: 0 };

function checked(table, address) {
    if (address >= ends[table]) throw Object.assign(new Error("illegal data address"), { modbusErrorCode: 2 });
    return address;
}

function read(table) {
    return (address) => {
        const value = tables[table][checked(table, address)];
        if (delay.left <= 0) return value;
        delay.left -= 1;
        return new Promise((done) => setTimeout(done, delay.ms, value));
    };
}

function write(table) {
    return (address, value) => {
        tables[table][checked(table, address)] = Number(value);
    };
}

const vector = {
    getCoil: read("coil"),
    getDiscreteInput: read("discrete"),
    getInputRegister: read("input"),
    getHoldingRegister: read("holding"),
    setCoil: write("coil"),
    setRegister: write("holding"),
};

const obey = {
    set: (table, address, ...values) => {
        tables[table].set(values.map(Number), Number(address));
        return "";
    },
    get: (table, address, count) => tables[table].slice(Number(address), Number(address) + Number(count)).join(" "),
    end: (table, address) => {
        ends[table] = Number(address);
        return "";
    },
    delay: (ms, left) => {
        delay = { ms: Number(ms), left: Number(left) };
        return "";
    },
    hangup: () => {
        for (const socket of sockets) socket.destroy();
        return "";
    },
};

const server = new ServerTCP(vector, { host: "127.0.0.1", port, unitID: unit });
server.on("error", () => {});
server.on("socketError", () => {});
server.on("serverError", (problem) => {
    console.log(`error ${problem.message}`);
    process.exit(1);
});
server.on("initialized", () => console.log("ok"));
server._server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
});
const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
    const [verb, ...words] = line.split(" ");
    try {
        console.log(`ok ${obey[verb](...words)}`);
    } catch (problem) {
        console.log(`error ${problem.message}`);
    }
});
lines.on("close", () => process.exit(0));
