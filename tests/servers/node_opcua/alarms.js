// Commands on events, alarms and conditions.
"use strict";

const opcua = require("node-opcua");

const { DataType } = opcua;

function alarmCommands({ server, space }) {
    space.installAlarmsAndConditionsService();
    const alarms = {};
    const text = (value) => ({ dataType: DataType.LocalizedText, value: opcua.coerceLocalizedText(value) });
    const objects = space.rootFolder.objects;
    return {
        // node: an object that sends events, below the server's own.
        notifier: ({ node }) => {
            const nodeId = opcua.resolveNodeId(node);
            const object = space.getNamespace(nodeId.namespace).addObject({
                nodeId,
                browseName: { namespaceIndex: nodeId.namespace, name: String(nodeId.value).split(".").at(-1) },
                organizedBy: objects,
                eventNotifier: 1,
                eventSourceOf: objects.server,
            });
            object.setEventNotifier(1);
        },
        // An event of a type such as "SystemEventType" at a node, with a message and a severity.
        event: ({ node, type, message, severity }) => {
            const source = space.findNode(node);
            source.raiseEvent(type ?? "SystemEventType", {
                message: text(message),
                severity: { dataType: DataType.UInt16, value: severity },
                sourceName: { dataType: DataType.String, value: source.browseName.name },
                sourceNode: { dataType: DataType.NodeId, value: source.nodeId },
            });
        },
        // An alarm (node) of an object (at) when a variable (input) is above a limit (high); its node id.
        alarm: ({ at, name, input, high }) => {
            const source = space.findNode(at);
            const alarm = source.namespace.instantiateNonExclusiveLimitAlarm("NonExclusiveLimitAlarmType", {
                browseName: { namespaceIndex: source.nodeId.namespace, name },
                conditionSource: source,
                conditionOf: source,
                inputNode: space.findNode(input),
                optionals: ["ConfirmedState", "Confirm"],
                highHighLimit: high * 10,
                highLimit: high,
                lowLimit: -high,
                lowLowLimit: -high * 10,
            });
            alarm.conditionName.setValueFromSource({ dataType: DataType.String, value: name });
            alarms[alarm.nodeId.toString()] = alarm;
            return alarm.nodeId.toString();
        },
        // Whether an alarm is active, acknowledged and confirmed, and its newest comment.
        alarm_state: ({ node }) => {
            const alarm = alarms[node];
            return [alarm.activeState.getValue(), alarm.ackedState.getValue(), alarm.confirmedState.getValue(),
                alarm.currentBranch().getComment().text];
        },
        // An alarm needs nobody's attention any more, without a word.
        settle: ({ node }) => void alarms[node].currentBranch().setRetain(false),
        // What a server says whose queue of states has overflowed.
        refresh_required: () => void server.raiseEvent("RefreshRequiredEventType", {
            message: text("refresh"),
            severity: { dataType: DataType.UInt16, value: 500 },
        }),
    };
}

module.exports = { alarmCommands };
