"use strict";
// The fleet's columns as columns.py packs them, and which servers of it are shown in which order.

const UNKNOWN_LOAD = 65535;
const UNKNOWN_HOUR = 255;
const HOUR_MS = 3600000;

async function inflate(base64) {
  const text = atob(base64);
  const packed = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) packed[at] = text.charCodeAt(at);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function unpack(buffer) {
  const types = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const fleet = { ...head };
  for (const [name, [type, offset, size]] of Object.entries(head.arrays)) {
    fleet[name] = new types[type](buffer, 4 + length + offset, size);
  }
  return withKeys(fleet);
}

// What servers are filtered and sorted by; made once, because a fleet has ten thousand of them.
function withKeys(fleet) {
  const number = fleet.servers.length;
  const kinds = fleet.classNames.length + 1; // the last one: unknown
  const counts = new Uint8Array(number * kinds);
  fleet.classes.forEach((kind, at) => {
    counts[Math.floor(at / fleet.hours) * kinds + kind] += 1;
  });
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const byName = Array.from(fleet.servers.keys()).sort((a, b) => compare(fleet.servers[a], fleet.servers[b]));
  const place = new Uint32Array(number);
  byName.forEach((server, at) => {
    place[server] = at;
  });
  const high = Float32Array.from(fleet.servers.keys(), (server) => counts[server * kinds + kinds - 2]);
  const keys = { name: place, high, peak: fleet.peak, action: fleet.action, confidence: fleet.confidence };
  return { ...fleet, kinds, counts, keys, lowered: fleet.servers.map((name) => name.toLowerCase()) };
}

// The servers that are asked for, in order: what is unknown comes last whatever the order, equals come by name.
function choose(fleet, wanted) {
  const text = wanted.text.trim().toLowerCase();
  const action = wanted.action === "" ? null : Number(wanted.action);
  const kind = wanted.kind === "" ? null : Number(wanted.kind);
  const chosen = [];
  for (let server = 0; server < fleet.servers.length; server += 1) {
    if (
      fleet.lowered[server].includes(text) &&
      (action === null || fleet.action[server] === action) &&
      (kind === null || fleet.counts[server * fleet.kinds + kind] > 0)
    ) {
      chosen.push(server);
    }
  }
  const key = fleet.keys[wanted.sort];
  const sign = wanted.descending ? -1 : 1;
  return chosen.sort((a, b) => {
    const unknown = Number(Number.isNaN(key[a])) - Number(Number.isNaN(key[b]));
    return unknown || sign * (key[a] - key[b]) || fleet.keys.name[a] - fleet.keys.name[b];
  });
}

function loadsOf(fleet, name, server) {
  const hours = fleet[name].length / fleet.servers.length;
  const steps = fleet[name].subarray(server * hours, (server + 1) * hours);
  return Array.from(steps, (step) => (step === UNKNOWN_LOAD ? null : step * fleet.unit[server]));
}

function classesOf(fleet, server) {
  return Array.from(fleet.classes.subarray(server * fleet.hours, (server + 1) * fleet.hours));
}

function classWord(fleet, kind) {
  return kind < fleet.classNames.length ? fleet.classNames[kind] : "unknown";
}

// "2016-07-01 05:00", hours after the first one that is forecast; before it where negative.
function hourWord(fleet, hours) {
  return new Date(Date.parse(fleet.start) + hours * HOUR_MS).toISOString().slice(0, 16).replace("T", " ");
}

function loadWord(load) {
  if (load === null || Number.isNaN(load)) return "–";
  return load.toLocaleString("en", load < 1000 ? { maximumSignificantDigits: 4 } : { maximumFractionDigits: 0 });
}
