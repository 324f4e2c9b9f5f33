// The npm package sparkplug-payload as a peer of the tests.
//
// `write MILLISECONDS` prints the messages of a node, a line each: verb, device (or "-"), payload in base64.
// `read` takes payloads in base64, a line each, births first, and prints what the package understood, as JSON. Data has
// no data types (6.4.6), and the package reads a value by its type only: so the type of the birth is put in first.
"use strict";

const Long = require("long");
const { get } = require("sparkplug-payload");
const { org } = require("sparkplug-payload/lib/sparkplugPayloadProto");

const sparkplug = get("spBv1.0");
const { Payload } = org.eclipse.tahu.protobuf;

function plain(value) {
  if (Long.isLong(value)) return value.toString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
  }
  return value === undefined ? null : value;
}

function withTypes(bytes, types) {
  const payload = Payload.decode(bytes);
  for (const metric of payload.metrics) {
    if (metric.name) {
      if (metric.datatype) types.set(metric.name, metric.datatype);
      if (metric.datatype && metric.hasOwnProperty("alias")) types.set(String(metric.alias), metric.datatype);
    }
    if (!metric.datatype) metric.datatype = types.get(metric.name || String(metric.alias));
  }
  return Payload.encode(payload).finish();
}

function read() {
  const types = new Map();
  const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean);
  for (const line of lines) {
    const payload = sparkplug.decodePayload(withTypes(Buffer.from(line, "base64"), types));
    console.log(JSON.stringify(plain(payload)));
  }
}

function write(now) {
  let seq = 0;
  const say = (verb, device, metrics) => {
    const bytes = sparkplug.encodePayload({ timestamp: now, seq: seq++, metrics });
    console.log(`${verb} ${device} ${Buffer.from(bytes).toString("base64")}`);
  };
  const dataSet = (first) => ({
    numOfColumns: 3,
    columns: ["n", "text", "at"],
    types: ["Int8", "String", "DateTime"],
    rows: [[first, "a", 5]],
  });
  const motor = (isDefinition, rpm, poles) => ({
    version: "2",
    isDefinition,
    ...(isDefinition ? {} : { templateRef: "Motor" }),
    metrics: [
      { name: "rpm", type: "Int32", value: rpm, timestamp: now },
      { name: "on", type: "Boolean", value: true, timestamp: now },
    ],
    parameters: [{ name: "poles", type: "Int32", value: poles }],
  });
  const values = [
    ["Int8", -128, -1],
    ["Int16", -32768, -2],
    ["Int32", -2147483648, -3],
    ["Int64", Long.MIN_VALUE, Long.fromNumber(-4)],
    ["UInt8", 255, 0],
    ["UInt16", 65535, 1],
    ["UInt32", 4294967295, 2],
    ["UInt64", Long.MAX_UNSIGNED_VALUE, Long.fromNumber(10, true)],
    ["Float", 0.5, -1.25],
    ["Double", 1e300, -0.1],
    ["Boolean", true, false],
    ["String", "ä€", ""],
    ["DateTime", now, 1],
    ["Text", "text", "t2"],
    ["UUID", "01234567-89ab-cdef-0123-456789abcdef", "u2"],
    ["Bytes", new Uint8Array([0, 255]), new Uint8Array([])],
    ["File", new Uint8Array([77, 90]), new Uint8Array([1])],
    ["DataSet", dataSet(-1), dataSet(-2)],
    ["Template", motor(false, -1480, -2), motor(false, -1, -3)],
  ].map(([type, first, second], number) => ({ type, first, second, alias: 100 + number }));
  say("NBIRTH", "-", [
    { name: "bdSeq", type: "Int64", value: 0, timestamp: now },
    { name: "Node Control/Rebirth", type: "Boolean", value: false, timestamp: now },
    { name: "Motor", type: "Template", value: motor(true, 0, 0), timestamp: now },
  ]);
  say("DBIRTH", "machine", [
    ...values.map(({ type, first, alias }) => ({ name: type, alias, type, value: first, timestamp: now })),
    {
      name: "Described",
      type: "Double",
      value: 0.0,
      timestamp: now,
      metadata: { description: "force of the ram" },
      properties: {
        engUnit: { type: "String", value: "kN" },
        limits: { type: "PropertySet", value: { low: { type: "Int32", value: -5 } } },
        list: { type: "PropertySetList", value: [{ low: { type: "Int32", value: -5 } }] },
        Quality: { type: "Int32", value: 500 },
      },
    },
  ]);
  say("DDATA", "machine", values.map(({ type, second, alias }) => ({ alias, type, value: second, timestamp: now })));
  // The package cannot write a data set or template without a value.
  const simple = values.filter(({ type }) => type !== "DataSet" && type !== "Template");
  say("DDATA", "machine", simple.map(({ type, alias }) => ({ alias, type, value: null, timestamp: now })));
  say("DDATA", "machine", [
    { name: "Described", type: "Double", value: 1.0, timestamp: now - 3600000, isHistorical: true },
    { name: "Described", type: "Double", value: 2.0, timestamp: now, isTransient: true },
    { name: "Described", type: "Double", value: 3.0, timestamp: now },
  ]);
}

if (process.argv[2] === "write") write(Number(process.argv[3]));
else read();
