// Commands on what goes over the wire: requests counted, refused or delayed, connections and subscriptions ended.
"use strict";

const opcua = require("node-opcua");

const LISTS = {
    BrowseRequest: "nodesToBrowse",
    BrowseNextRequest: "continuationPoints",
    CallRequest: "methodsToCall",
    CreateMonitoredItemsRequest: "itemsToCreate",
    DeleteMonitoredItemsRequest: "monitoredItemIds",
    HistoryReadRequest: "nodesToRead",
    ReadRequest: "nodesToRead",
    RegisterNodesRequest: "nodesToRegister",
    TranslateBrowsePathsToNodeIdsRequest: "browsePaths",
    WriteRequest: "nodesToWrite",
};

// The namespace that the server gives registered nodes.
const REGISTERED = 9999;

function nameOf(request) {
    return request.schema.name;
}

// How many requests of each name there were, and the most that one of them has asked for.
function countRequests(running) {
    running.requests = {};
    running.registered = 0;
    running.server.on("request", (request) => {
        const name = nameOf(request);
        const seen = (running.requests[name] ??= { count: 0, most: 0 });
        seen.count += 1;
        seen.most = Math.max(seen.most, request[LISTS[name]]?.length ?? 0);
        if (name === "ReadRequest") {
            running.registered += request.nodesToRead.filter(({ nodeId }) => nodeId.namespace === REGISTERED).length;
        }
    });
}

function wireCommands(running) {
    const { server } = running;
    const originals = {};
    const channels = () => server.endpoints.flatMap((endpoint) => endpoint.getChannels());
    const sessions = () => Object.values(server.engine._sessions);
    const subscriptions = () => sessions().flatMap((session) => session.publishEngine.subscriptions);
    const replace = (service, handler) => {
        const name = `_on_${service}Request`;
        originals[name] ??= server[name];
        server[name] = handler ?? originals[name];
    };
    const fault = (message, channel, status) => {
        const response = new opcua.ServiceFault({ responseHeader: { serviceResult: opcua.coerceStatusCode(status) } });
        channel.send_response("MSG", response, message);
    };

    return {
        // {NAME: {count, most}} of the requests since the start or the last forget.
        requests: () => running.requests,
        forget: () => {
            running.requests = {};
            running.registered = 0;
        },
        // How many reads of registered nodes there were since then.
        asked_for_registered: () => running.registered,
        sessions: () => server.currentSessionCount,
        subscriptions: () => server.currentSubscriptionCount,
        monitored: () => subscriptions().reduce((sum, each) => sum + each.monitoredItemCount, 0),
        // Answer each request of a service, such as "RegisterNodes", with a status code; without one as before.
        refuse: ({ service, status }) =>
            replace(service, status && ((message, channel) => fault(message, channel, status))),
        // Answer each request of a service so much later; 0 as before.
        delay: ({ service, delay_ms: delayMs }) => {
            replace(service);
            const original = server[`_on_${service}Request`];
            if (delayMs) {
                replace(service, (message, channel) => setTimeout(() => original.call(server, message, channel), delayMs));
            }
        },
        // Refuse each request of a service, Read unless said otherwise, that asks for this node with a status code.
        poison: ({ service = "Read", node, status }) => {
            const original = server[`_on_${service}Request`];
            replace(service, (message, channel) =>
                message.request[LISTS[`${service}Request`]].some((each) => (each.itemToMonitor ?? each).nodeId.toString() === node)
                    ? fault(message, channel, status)
                    : original.call(server, message, channel),
            );
        },
        // Requests of a service, Read unless said otherwise, are answered as at the start.
        heal: ({ service = "Read" }) => replace(service),
        // Cut all connections as a cable would.
        drop: () => channels().forEach((channel) => channel.abruptlyInterrupt()),
        // End all subscriptions: their sessions go on without them.
        end_subscriptions: () => subscriptions().forEach((each) => each.terminate()),
        // End all sessions: their connections go on without them.
        end_sessions: () =>
            sessions().forEach((session) => server.engine.closeSession(session.authenticationToken, true, "Terminated")),
        // Leave no session and no subscription of before, also none whose session is gone; requests are answered as at the start.
        clear: () => {
            sessions().forEach((session) => server.engine.closeSession(session.authenticationToken, true, "Terminated"));
            [...(server.engine._orphanPublishEngine?.subscriptions ?? [])].forEach((each) => each.terminate());
            Object.keys(originals).forEach((name) => {
                server[name] = originals[name];
            });
        },
        // Messages with data that do not come, of each subscription the next ``count``; ``forgotten``: nor can they be sent
        // again. The requests that they would have answered stay with the server.
        lose: ({ count, forgotten }) =>
            subscriptions().forEach((each) => {
                const engine = each.publishEngine;
                const send = Object.getPrototypeOf(engine)._send_response;
                let left = count;
                engine._send_response = (subscription, response) => {
                    const isLost = subscription === each && left > 0 && response.notificationMessage.notificationData?.length;
                    if (!isLost) {
                        return send.call(engine, subscription, response);
                    }
                    left -= 1;
                    if (forgotten) {
                        each._sent_notification_messages = [];
                    }
                };
            }),
        // The state that the server says it is in, such as "Suspended".
        state: ({ state }) => server.engine.setServerState(opcua.ServerState[state]),
        // Subscriptions that live on and say nothing any more, not even keep-alives.
        mute: () => subscriptions().forEach((each) => each._stop_timer()),
    };
}

module.exports = { wireCommands, countRequests };
