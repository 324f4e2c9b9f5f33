// Commands on the address space. A node is named by its node id, such as "ns=1;s=Ram.Force".
"use strict";

const opcua = require("node-opcua");

const { DataType, StatusCode, StatusCodes, Variant, VariantArrayType } = opcua;

// A value as node-opcua takes it, from what JSON can say: times in milliseconds, bytes in base64, 64-bit numbers and
// "NaN" or "Infinity" as text; an array of arrays is a matrix; of a structure an object {type, fields}.
function scalar(space, kind, value) {
    switch (kind) {
        case "Int64":
            return opcua.coerceInt64(String(value));
        case "UInt64":
            return opcua.coerceUInt64(String(value));
        case "Float":
        case "Double":
            return Number(value);
        case "DateTime":
            return new Date(value);
        case "ByteString":
            return Buffer.from(value, "base64");
        case "LocalizedText":
            return opcua.coerceLocalizedText(value);
        case "QualifiedName":
            return opcua.coerceQualifiedName(value);
        case "NodeId":
            return opcua.resolveNodeId(value);
        case "ExtensionObject":
            return space.constructExtensionObject(opcua.resolveNodeId(value.type), value.fields);
        default:
            return value;
    }
}

function variantOf(space, kind, value) {
    const dataType = DataType[kind];
    if (value === null || value === undefined) {
        return new Variant({ dataType: DataType.Null });
    }
    if (!Array.isArray(value)) {
        return new Variant({ dataType, arrayType: VariantArrayType.Scalar, value: scalar(space, kind, value) });
    }
    if (value.length > 0 && Array.isArray(value[0])) {
        const flat = value.flat().map((each) => scalar(space, kind, each));
        const dimensions = [value.length, value[0].length];
        return new Variant({ dataType, arrayType: VariantArrayType.Matrix, dimensions, value: flat });
    }
    const items = value.map((each) => scalar(space, kind, each));
    return new Variant({ dataType, arrayType: VariantArrayType.Array, value: items });
}

// What JSON can say of a variant's value: 64-bit numbers as text, arrays as lists.
function plain({ dataType, arrayType, value }) {
    if (dataType === DataType.Int64 || dataType === DataType.UInt64) {
        const text = dataType === DataType.Int64 ? opcua.Int64ToBigInt : opcua.UInt64ToBigInt;
        return arrayType === VariantArrayType.Scalar ? String(text(value)) : Array.from(value, (each) => String(text(each)));
    }
    return ArrayBuffer.isView(value) && !Buffer.isBuffer(value) ? Array.from(value) : value;
}

function rankOf(value) {
    if (!Array.isArray(value)) {
        return -1;
    }
    return value.length > 0 && Array.isArray(value[0]) ? 2 : 1;
}

function statusOf(code) {
    return code === undefined ? StatusCodes.Good : opcua.coerceStatusCode(code);
}

function nodeCommands({ space }) {
    const calls = [];
    const find = (id) => {
        const node = space.findNode(id);
        if (!node) {
            throw new Error(`the server has no node ${id}`);
        }
        return node;
    };
    const placed = ({ node, under, name, by }) => {
        const nodeId = opcua.resolveNodeId(node);
        const last = String(nodeId.value).split(".").at(-1);
        return {
            nodeId,
            browseName: { namespaceIndex: nodeId.namespace, name: name ?? last },
            [by ?? (under ? "componentOf" : "organizedBy")]: find(under ?? "ObjectsFolder"),
        };
    };
    const namespaceOf = (node) => space.getNamespace(opcua.resolveNodeId(node).namespace);
    const described = (command) => {
        const { node, type, value, datatype, writable, historized } = command;
        const variable = {
            ...placed(command),
            dataType: datatype ?? type,
            valueRank: command.rank ?? rankOf(value),
            description: command.about,
            minimumSamplingInterval: 0,
            accessLevel: writable ? "CurrentRead | CurrentWrite" : "CurrentRead",
            userAccessLevel: writable ? "CurrentRead | CurrentWrite" : "CurrentRead",
        };
        if (historized) {
            variable.accessLevel += " | HistoryRead";
            variable.userAccessLevel += " | HistoryRead";
        }
        if (Array.isArray(value)) {
            variable.arrayDimensions = rankOf(value) === 2 ? [0, 0] : [0];
        }
        return { namespace: namespaceOf(node), variable };
    };
    const give = (variable, { type, value, status, time_ms: timeMs }) => {
        const when = timeMs === undefined ? new Date() : new Date(timeMs);
        variable.setValueFromSource(variantOf(space, type, value), statusOf(status), when);
    };

    const addVariable = (command) => {
        const { namespace, variable } = described(command);
        let node;
        if (command.range) {
            const [low, high] = command.range;
            const engineeringUnitsRange = { low, high };
            const dataType = command.type;
            const value = variantOf(space, command.type, command.value);
            const engineeringUnits = command.unit && opcua.makeEUInformation(command.unit, command.unit, command.unit);
            node = namespace.addAnalogDataItem({
                ...variable,
                dataType,
                value,
                engineeringUnitsRange,
                ...(engineeringUnits ? { engineeringUnits } : {}),
            });
        } else {
            node = namespace.addVariable(variable);
        }
        give(node, command);
        if (command.components) {
            node.installExtensionObjectVariables();
        }
        if (command.historized) {
            space.installHistoricalDataNode(node, { maxOnlineValues: 10000 });
        }
    };

    return {
        // A further namespace; its index.
        namespace: ({ uri }) => space.registerNamespace(uri).index,
        // node, and perhaps under (Objects), name (the end of the node id), by ("componentOf" or "organizedBy": as is usual),
        // and versioned: the server then says (GeneralModelChangeEvent) when something comes or goes below it.
        object: (command) =>
            void namespaceOf(command.node).addObject({ ...placed(command), ...(command.versioned ? { nodeVersion: "0" } : {}) }),
        // As object, with type, value (null: none yet), and perhaps status, time_ms, writable, historized, datatype (the
        // node id of a type that the value is said to have), rank, about (its description), and range [low, high] with unit
        // for an AnalogItem; and components: the fields of a structure are variables of their own, too.
        variable: addVariable,
        // Many variables at once: each as variable has it.
        variables: ({ each }) => each.forEach(addVariable),
        // node, type, value, and perhaps status and time_ms: what its source says now.
        set: (command) => give(find(command.node), command),
        // Type, value, and status code of a variable.
        get: ({ node }) => {
            const data = find(node).readValue();
            return [DataType[data.value.dataType], plain(data.value), data.statusCode.value];
        },
        // The browse name of a node; null where there is none.
        browse_name: ({ node }) => space.findNode(node)?.browseName.name ?? null,
        // What the server says of its fitness (ServiceLevel); 255 at the start.
        service_level: ({ level }) => {
            const get = () => new Variant({ dataType: DataType.Byte, value: level });
            find("i=2267").bindVariable({ get }, true);
        },
        remove: ({ node, if_there: ifThere }) => {
            const id = opcua.resolveNodeId(node);
            if (!ifThere || space.findNode(id)) {
                space.deleteNode(id);
            }
        },
        // A reference from one node to another, of a type such as "Organizes".
        reference: ({ from, to, type }) => void find(from).addReference({ referenceType: type, nodeId: find(to).nodeId }),
        // An enumeration {node, name, values: {NAME: NUMBER}}, a type of data.
        enumeration: ({ node, name, values }) => {
            const enumeration = Object.entries(values).map(([displayName, value]) => ({ displayName, value }));
            namespaceOf(node).addEnumerationType({ browseName: name, nodeId: node, enumeration });
        },
        // node, under, inputs and outputs (name, type, rank of each), and perhaps status; it returns its inputs.
        method: (command) => {
            const described = (list) =>
                (list ?? []).map(([name, type, rank]) => ({ name, dataType: DataType[type], valueRank: rank ?? -1 }));
            const { node, under, name, inputs, outputs, status } = command;
            const nodeId = opcua.resolveNodeId(node);
            const method = namespaceOf(node).addMethod(find(under), {
                nodeId,
                browseName: { namespaceIndex: nodeId.namespace, name: name ?? String(nodeId.value).split(".").at(-1) },
                inputArguments: described(inputs),
                outputArguments: described(outputs ?? inputs),
            });
            method.bindMethod((given, _context, callback) => {
                calls.push([node, given.map((each) => plain(each))]);
                callback(null, { statusCode: statusOf(status), outputArguments: given });
            });
        },
        // [node, inputs] of each call of a method.
        calls: () => calls,
    };
}

module.exports = { nodeCommands, variantOf, statusOf };
