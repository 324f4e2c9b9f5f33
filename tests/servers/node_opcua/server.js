// A server of node-opcua that obeys commands: one JSON object a line on standard input, one answer each on standard output.
//
// The first line is the server's options (see ``start``). Then each line is {"do": NAME, …}; the answer is {"ok": …} or
// {"error": SENTENCE}. What each command takes is said where it stands: commands on nodes in nodes.js, on what goes over
// the wire in wire.js, on alarms in alarms.js, on certificates here; each takes "held_ms", for how long no other is obeyed.
// It ends when its standard input does, so that it never outlives its test.
"use strict";

const path = require("node:path");
const readline = require("node:readline");

// Its library says what it thinks on standard output: that is the answers' alone.
const answer = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);

const opcua = require("node-opcua");
const { alarmCommands } = require("./alarms.js");
const { nodeCommands } = require("./nodes.js");
const { wireCommands, countRequests } = require("./wire.js");

const URI = "urn:lineside:tests:node-opcua";

// port: where it listens. pki: a folder for its certificates and those it trusts. own: [certificate, key], files in PEM that
// it shows in place of a certificate that it makes itself.
// policies, modes: names such as "Basic256Sha256" and "SignAndEncrypt". users: {name: password}. anonymous: whether allowed.
// trusting: whether unknown client certificates are accepted. limits: of operations, such as {maxNodesPerRead: 5}.
// capabilities: others, such as {maxSessions: 2}. namespaces: URIs, with indices from 2 on. nodesets: files to load.
// channel_ms: the lifetime of a secure channel's token, 2500 at least; ten minutes at the start.
async function start(options) {
    const nodesets = (options.nodesets ?? []).map((name) => path.join(__dirname, name));
    const manager = (folder) =>
        new opcua.OPCUACertificateManager({
            automaticallyAcceptUnknownCertificate: options.trusting ?? false,
            name: folder,
            rootFolder: path.join(options.pki, folder),
        });
    const certificates = { server: manager("server"), users: manager("users") };
    await certificates.server.initialize();
    await certificates.users.initialize();
    const users = options.users ?? {};
    const server = new opcua.OPCUAServer({
        port: options.port,
        host: "127.0.0.1",
        hostname: "127.0.0.1",
        serverInfo: { applicationUri: URI, applicationName: { text: "Lineside tests" } },
        serverCertificateManager: certificates.server,
        userCertificateManager: certificates.users,
        ...(options.own ? { certificateFile: options.own[0], privateKeyFile: options.own[1] } : {}),
        nodeset_filename: [opcua.nodesets.standard, ...nodesets],
        securityPolicies: (options.policies ?? ["None"]).map((name) => opcua.SecurityPolicy[name]),
        securityModes: (options.modes ?? ["None"]).map((name) => opcua.MessageSecurityMode[name]),
        allowAnonymous: options.anonymous ?? true,
        userManager: { isValidUser: (user, password) => Object.hasOwn(users, user) && users[user] === password },
        serverCapabilities: new opcua.ServerCapabilities({
            maxSessions: 100,
            minSupportedSampleRate: 10,
            ...options.capabilities,
            operationLimits: options.limits ?? {},
        }),
        maxConnectionsPerEndpoint: 100,
        defaultSecureTokenLifetime: options.channel_ms,
    });
    await server.initialize();
    const space = server.engine.addressSpace;
    for (const uri of options.namespaces ?? []) {
        space.registerNamespace(uri);
    }
    await server.start();
    return { server, space, certificates, users };
}

function certificateCommands({ certificates }) {
    const all = [certificates.server, certificates.users];
    return {
        // Trust a client's certificate (DER in base64), or refuse it, for sessions and as that of a user.
        trust: ({ certificate }) => Promise.all(all.map((each) => each.trustCertificate(Buffer.from(certificate, "base64")))),
        reject: ({ certificate }) =>
            Promise.all(all.map((each) => each.rejectCertificate(Buffer.from(certificate, "base64")))),
    };
}

async function main() {
    const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
    const first = await lines.next();
    let commands;
    try {
        const running = await start(JSON.parse(first.value));
        countRequests(running);
        commands = { ...nodeCommands(running), ...wireCommands(running), ...certificateCommands(running), ...alarmCommands(running) };
        answer(`${JSON.stringify({ ok: running.space.getNamespaceArray().map((each) => each.namespaceUri) })}\n`);
    } catch (error) {
        answer(`${JSON.stringify({ error: String(error.stack ?? error) })}\n`);
        process.exit(1);
    }
    for await (const line of { [Symbol.asyncIterator]: () => lines }) {
        const command = JSON.parse(line);
        let said;
        try {
            if (!Object.hasOwn(commands, command.do)) {
                throw new Error(`no such command: ${command.do}`);
            }
            said = { ok: (await commands[command.do](command)) ?? null };
            if (command.held_ms) {
                await new Promise((over) => setTimeout(over, command.held_ms));
            }
        } catch (error) {
            said = { error: String(error.stack ?? error) };
        }
        answer(`${JSON.stringify(said, (_key, value) => (typeof value === "bigint" ? Number(value) : value))}\n`);
    }
    process.exit(0);
}

main();
