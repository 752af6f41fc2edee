// A server with invented answers of the API, after openapi.yaml: for the work on pages, and for
// measuring with more nodes than a devnet has. `node test/fixture.mjs [nodes] [port]`.
import { createServer } from "node:http";
import { existsSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const files = fileURLToPath(new URL("../../internal/dashboard/files/", import.meta.url));
export const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const types = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", json: "application/json", svg: "image/svg+xml" };

/** Numbers from 0 to 1, the same each time. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const cities = [
  ["Ashburn", "US", "United States", 39.0, -77.5, 9], ["New York", "US", "United States", 40.7, -74.0, 5], ["San Jose", "US", "United States", 37.3, -121.9, 5], ["Columbus", "US", "United States", 40.0, -83.0, 3],
  ["Frankfurt", "DE", "Germany", 50.1, 8.7, 8], ["Nuremberg", "DE", "Germany", 49.5, 11.1, 5], ["Berlin", "DE", "Germany", 52.5, 13.4, 3], ["London", "GB", "United Kingdom", 51.5, -0.1, 5], ["Paris", "FR", "France", 48.9, 2.4, 4],
  ["Helsinki", "FI", "Finland", 60.2, 24.9, 3], ["Amsterdam", "NL", "Netherlands", 52.4, 4.9, 4], ["Zurich", "CH", "Switzerland", 47.4, 8.5, 1], ["Singapore", "SG", "Singapore", 1.35, 103.8, 3], ["Tokyo", "JP", "Japan", 35.7, 139.7, 3],
  ["Seoul", "KR", "South Korea", 37.6, 127.0, 2], ["Sydney", "AU", "Australia", -33.9, 151.2, 2], ["Toronto", "CA", "Canada", 43.7, -79.4, 3], ["Sao Paulo", "BR", "Brazil", -23.5, -46.6, 1], ["Johannesburg", "ZA", "South Africa", -26.2, 28.0, 1],
];
const networks = [
  [16509, "Amazon.com, Inc.", "hosting", "aws", 14], [24940, "Hetzner Online GmbH", "hosting", "hetzner", 16], [16276, "OVH SAS", "hosting", "ovh", 9], [51167, "Contabo GmbH", "hosting", "contabo", 6], [396982, "Google LLC", "hosting", "gcp", 5], [14061, "DigitalOcean, LLC", "hosting", "digitalocean", 3], [20473, "The Constant Company, LLC", "hosting", "vultr", 2], [12876, "Scaleway S.a.s.", "hosting", "scaleway", 1], [60781, "LeaseWeb Netherlands B.V.", "hosting", "leaseweb", 1],
  [7922, "Comcast Cable Communications, LLC", "isp", null, 8], [3320, "Deutsche Telekom AG", "isp", null, 6], [701, "Verizon Business", "isp", null, 4], [3215, "Orange S.A.", "isp", null, 3], [2856, "British Telecommunications PLC", "isp", null, 3], [1136, "KPN B.V.", "isp", null, 2], [3303, "Swisscom (Schweiz) AG", "isp", null, 2], [4713, "NTT DOCOMO BUSINESS, Inc.", "isp", null, 2], [1221, "Telstra Limited", "isp", null, 2], [719, "Elisa Oyj", "isp", null, 1], [577, "Bell Canada", "isp", null, 2],
  [680, "Verein zur Foerderung eines Deutschen Forschungsnetzes e.V.", "education", null, 0.4], [0, null, null, null, 2],
];
const clients = [["lighthouse", ["v8.0.1", "v8.0.0", "v7.1.0"], 42], ["prysm", ["v7.1.1", "v7.0.0"], 27], ["teku", ["v25.11.1", "v25.9.0"], 12], ["nimbus", ["v25.11.0"], 11], ["lodestar", ["v1.37.0"], 5], ["grandine", ["2.0.1"], 2], [null, [null], 1]];

function pick(list, r) {
  let at = r() * list.reduce((s, x) => s + x.at(-1), 0);
  return list.find((x) => (at -= x.at(-1)) < 0) ?? list[0];
}

const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

export function makeNodes(count, now) {
  const r = random(7);
  const round = (x) => Math.round(x * 10) / 10;
  return Array.from({ length: count }, (_, i) => {
    const [client, releases] = pick(clients, r);
    const release = releases[Math.floor(r() * r() * releases.length)];
    const [asn, as_name, hosting, cloud] = pick(networks, r);
    const base = pick(cities, r);
    const town = r() < 0.4 ? 1 + Math.floor(r() * 40) : 0; // one of the towns around a city
    const [city, country_code, country] = [town ? `Town ${town} near ${base[0]}` : base[0], base[1], base[2]];
    const [lat, lon] = [base[3] + (town && Math.sin(town * 12.9) * 3), base[4] + (town && Math.sin(town * 78.2) * (country_code === "US" ? 7 : 2.5))];
    const v = r() < 0.45 ? 0 : Math.floor(Math.exp(r() * (hosting === "hosting" ? 6.6 : 2)));
    const peer = "16Uiu2HAm" + Array.from({ length: 44 }, () => alphabet[Math.floor(r() * 58)]).join("");
    return {
      id: peer, node_id: "0x" + Array.from({ length: 64 }, () => Math.floor(r() * 16).toString(16)).join(""), client, client_version: client && `${client}/${release}/x86_64-linux`, client_release: release && release.replace(/^v/, ""), os: "linux", arch: r() < 0.9 ? "x86_64" : "aarch64",
      validators: v, validators_low: Math.floor(v * 0.8), validators_high: Math.ceil(v * 1.25) + (v ? 1 : 2), validators_mean: v + 0.3, p_validator: v ? 0.999 : 0.03, flags: i % 97 === 0 ? ["saturated"] : [], trust: "all", weight: 1, stake_eth: v * 32, stake_low: v * 26, stake_high: v * 40,
      custody_group_count: v ? Math.min(128, Math.max(8, v)) : 4, all_subnets: i % 97 === 0, observations: 20 + (i % 50), epochs_watched: 3.5, first_seen: now - 40 * 86400e3, last_seen: now - Math.floor(r() * 3600e3), last_epoch: 412000, last_outcome: "ok", direction: "outbound", transport: r() < 0.6 ? "quic" : "tcp",
      fork_digest: "0xabcd0123", next_fork_version: "0x07000000", nfd: "0x11223344", long_lived_subnets: [Math.floor(r() * 64), Math.floor(r() * 64)],
      country, country_code, region: null, city, latitude: round(lat), longitude: round(lon), asn: asn || null, as_name, hosting, cloud,
    };
  });
}

export function makeAPI(count) {
  const now = Date.now();
  const nodes = makeNodes(count, now);
  const meta = () => ({ network: "devnet", simulated: true, as_of: Date.now() - 12_000, covers_ms: 86400e3, age_ms: 12_000, estimated_at: Date.now() - 12_000, geo_date: "2026-06-17", geo_sources: [{ name: "IP Geolocation by DB-IP", url: "https://db-ip.com", licence: "CC BY 4.0", date: "2026-06-17" }], public: true });
  const total = nodes.reduce((s, n) => s + n.validators, 0);
  const group = (by, name, code, list, extra = {}) => {
    const v = list.reduce((s, n) => s + n.validators, 0);
    return { by, name, code, latitude: null, longitude: null, nodes: list.length, with_validators: list.filter((n) => n.validators).length, validators: v, validators_low: Math.floor(v * 0.93), validators_high: Math.ceil(v * 1.08), stake_eth: v * 32, share_nodes: list.length / count, share_validators: v / total, share_validators_low: (0.91 * v) / total, share_validators_high: Math.min(1, (1.1 * v) / total), ...extra };
  };
  const groups = (by, key, code = () => null, extra = () => ({})) => {
    const m = new Map();
    for (const n of nodes) m.set(key(n), [...(m.get(key(n)) ?? []), n].slice(-1e6));
    return [...m].map(([k, list]) => group(by, k, code(list[0]), list, extra(list[0]))).sort((a, b) => b.validators - a.validators);
  };
  const grouped = {
    country: groups("country", (n) => n.country, (n) => n.country_code),
    city: groups("city", (n) => n.city, (n) => n.country_code, (n) => ({ latitude: n.latitude, longitude: n.longitude })).filter((g) => g.nodes >= 1),
    network: groups("network", (n) => n.as_name, (n) => n.asn && String(n.asn)), hosting: groups("hosting", (n) => n.hosting), cloud: groups("cloud", (n) => n.cloud),
    client: groups("client", (n) => n.client), release: groups("release", (n) => n.client_release, (n) => n.client), os: groups("os", (n) => n.os), arch: groups("arch", (n) => n.arch),
  };
  const bounds = [[0, 0], [1, 1], [2, 3], [4, 7], [8, 15], [16, 31], [32, 63], [64, 127], [128, 255], [256, null]];
  const funnel = { records: Math.round(count * 2.7), right_digest: Math.round(count * 1.8), dialled: Math.round(count * 1.8), connected: Math.round(count * 1.15), status: Math.round(count * 1.06), metadata: count, with_validators: nodes.filter((n) => n.validators).length };
  const summary = () => ({
    nodes: { counted: count, known: Math.round(count * 2.7), duplicate_ids: 31, inbound_only: 12, with_validators: funnel.with_validators },
    validators: { attachments: total, attachments_low: Math.floor(total * 0.95), attachments_high: Math.ceil(total * 1.06), active: 950000, multiplicity: total / 950000, multiplicity_low: 0.9, multiplicity_high: 1.1, unreached_share: 0.04, verdict: "passed", histogram: bounds.map(([low, high]) => { const list = nodes.filter((n) => n.validators >= low && (high === null || n.validators <= high)); return { low, high, nodes: list.length, validators: list.reduce((s, n) => s + n.validators, 0) }; }) },
    stake: { eth: total * 32, eth_low: total * 30, eth_high: total * 34 },
    countries: top(grouped.country), networks: top(grouped.network), hosting: grouped.hosting, clouds: grouped.cloud, clients: grouped.client,
    forks: { next: null, ready: 0, not_ready: 0, unknown: 0 }, funnel,
  });
  const top = (list) => ({ known: list.length, top: list.slice(0, 10), most_nodes: [...list].sort((a, b) => b.nodes - a.nodes).find((g) => g.name) ?? null });
  const r = random(3);
  const outcomes = [["ok", 9000], ["dial_timeout", 3105], ["refused", 1290], ["goodbye", 412], ["negotiation", 171], ["wrong_network", 112]].map(([outcome, visits]) => ({ outcome, visits, nodes: Math.round(visits / 2) }));
  const series = (q) => {
    const step = { "1h": 3600e3, "6h": 21600e3, "1d": 86400e3, all: 3600e3 }[q.get("step") ?? "1h"];
    const from = Number(q.get("from") ?? now - 7 * 86400e3);
    const out = [];
    for (let t = Math.ceil(from / step) * step; t < now; t += step) {
      const k = 1 - ((now - t) / 86400e3) * 0.003 + Math.sin(t / 4e7) * 0.004;
      out.push({ time: t, totals_at: t + (step - 3600e3), nodes: Math.round(count * k), with_validators: Math.round(funnel.with_validators * k), validators: Math.round(total * k), validators_low: Math.round(total * k * 0.95), validators_high: Math.round(total * k * 1.06), clients: Object.fromEntries(grouped.client.filter((g) => g.name).map((g) => [g.name, Math.round(g.nodes * k)])), fork: "gloas", fork_ready: Math.round(count * 0.8 * (1 - ((now - t) / 86400e3) * 0.02)), fork_not_ready: Math.round(count * 0.15), fork_unknown: Math.round(count * 0.05), records: Math.round(400 * k + 30 * r()), handshakes: Math.round(900 * k + 60 * r()), watches: Math.round(120 * k + 20 * r()) });
    }
    return out;
  };
  const detail = (n) => {
    const posterior = [];
    for (let v = 0; v <= n.validators_high * 1.5 + 3; v += Math.max(1, Math.round(n.validators_high / 80))) posterior.push({ validators: v, p: 1 / (1 + Math.exp(-((v - n.validators) / Math.max(0.6, (n.validators_high - n.validators_low) / 5)))) });
    const i = (k) => ({ validators: n.validators * k, validators_low: n.validators * k * 0.6, validators_high: n.validators * k * 1.6 + 2 });
    return {
      ...n, counted: true, why: `${Math.round(n.validators * 0.12)} duties seen in 3.5 watched epochs; a validator shows about one in 29 epochs, hence about ${n.validators}.`, signals: { custody: i(1.1), subnets: i(0.97), sync: null }, posterior,
      days: [5, 4, 3, 2, 1, 0].map((d) => ({ date: new Date(now - d * 86400e3).toISOString().slice(0, 10), client: n.client ?? "unknown", version: d > 3 ? "7.0.9" : (n.client_release ?? ""), epochs_watched: 0.6, cells_on: Math.round(n.validators * 0.02), cells_off: 1200, subscriptions: 4, all_subnets: false })), custody_history: [{ at: now - 20 * 86400e3, count: 8 }, { at: now - 86400e3, count: n.custody_group_count }], other_ids: [{ id: nodes[1].id, last_seen: now - 9 * 86400e3 }],
      seen_by: [
        { sentry: "sentry-1", location: "Frankfurt", last_seen: n.last_seen, last_handshake: n.last_seen, last_visit: n.last_seen, last_outcome: "ok", reachable: true, handshake_ms: 84, subscribed_subnets: 4, subscriptions_differ: false },
        { sentry: "sentry-2", location: "Singapore", last_seen: now - 3 * 86400e3, last_handshake: now - 3 * 86400e3, last_visit: now - 600e3, last_outcome: "dial_timeout", reachable: false, handshake_ms: 412, subscribed_subnets: 2, subscriptions_differ: null },
        { sentry: "sentry-3", location: null, last_seen: null, last_handshake: null, last_visit: null, last_outcome: null, reachable: null, handshake_ms: null, subscribed_subnets: null, subscriptions_differ: null },
      ],
    };
  };
  const observations = (n) => ({
    epochs: Array.from({ length: 90 }, (_, i) => ({ epoch: 412000 - i, time: now - i * 384e3, long_lived_subnets: n.long_lived_subnets, short_lived_subnets: i % 30 < 3 || i === 50 ? Array.from({ length: Math.min(20, Math.ceil(n.validators / 29)) }, () => Math.floor(r() * 64)) : null })).filter((e, i) => e.short_lived_subnets || i % 7 === 0),
    estimates: Array.from({ length: 30 }, (_, i) => ({ time: now - i * 86400e3, validators: n.validators * (1 + 0.05 * Math.sin(i)), validators_low: n.validators * (0.8 - i * 0.01), validators_high: n.validators * (1.25 + i * 0.02) })),
  });
  const kinds = ["appeared", "vanished", "moved", "upgraded", "started_validating", "stopped_validating"];
  const changes = Array.from({ length: 120 }, (_, i) => { const n = nodes[(i * 37) % count]; const kind = kinds[(i * 7) % 6]; return { kind, id: n.id, at: now - i * 700e3, client: n.client, version: n.client_release, from: kind === "upgraded" ? "7.0.9" : kind === "moved" ? "Germany" : null, to: kind === "upgraded" ? n.client_release : kind === "moved" ? "France" : null, replaces: i % 40 === 0 && kind === "appeared" ? nodes[0].id : null }; });
  const concentration = ["client", "network", "cloud", "country"].map((by) => {
    const list = grouped[by].filter((g) => g.name);
    let sum = 0;
    const holds = (f) => { sum = 0; const i = list.findIndex((g) => (sum += g.validators) > total * f); return i < 0 ? null : i + 1; };
    const known = list.reduce((s, g) => s + g.validators, 0);
    return { by, known_share: known / total, hhi: 10000 * list.reduce((s, g) => s + (g.validators / total) ** 2, 0), third: holds(1 / 3), two_thirds: holds(2 / 3), largest: list[0].name, largest_share: list[0].share_validators, largest_share_low: list[0].share_validators_low, largest_share_high: list[0].share_validators_high };
  });
  const filtered = (q) => {
    const values = (name) => q.getAll(name);
    let list = nodes.filter((n) => (!q.has("client") || values("client").includes(n.client)) && (!q.has("country") || values("country").includes(n.country_code)) && (!q.has("hosting") || values("hosting").includes(n.hosting)) && (!q.has("asn") || values("asn").includes(String(n.asn))) && (!q.has("cloud") || values("cloud").includes(n.cloud)) && (!q.has("version") || values("version").includes(n.client_release)) && (!q.has("q") || n.id.startsWith(q.get("q")) || n.node_id.startsWith(q.get("q"))));
    const sort = q.get("sort") ?? "id";
    const column = sort.replace("-", "");
    list = list.toSorted((a, b) => (a[column] < b[column] ? -1 : a[column] > b[column] ? 1 : 0));
    return sort.startsWith("-") ? list.reverse() : list;
  };
  return (path, q) => {
    const data = (d, extra = {}) => ({ data: d, meta: { ...meta(), ...extra } });
    const [, , , name, id, sub] = path.split("/");
    switch (name) {
      case "summary": return data(summary());
      case "countries": return data(grouped.country);
      case "cities": return data(grouped.city);
      case "networks": return data(grouped.network);
      case "hosting": return data([...grouped.hosting, ...grouped.cloud]);
      case "clients": return data([...grouped.client, ...grouped.release, ...grouped.os, ...grouped.arch]);
      case "subnets": return data({ subnets: Array.from({ length: 64 }, (_, subnet) => ({ subnet, long_lived: nodes.filter((n) => n.long_lived_subnets.includes(subnet)).length })), custody_group_counts: [4, 8, 12, 20, 44, 128].map((c, i) => ({ custody_group_count: c, nodes: Math.round(count / (i + 2)) })) });
      case "forks": return data({ epoch: 412000, current_digest: "0xabcd0123", next: { name: "gloas", epoch: 420000, at: now + 30 * 86400e3, digest: "0x11223344" }, versions: grouped.release.map((g) => ({ client: g.code ?? "", version: g.name ?? "", nodes: g.nodes, current: g.nodes, ready: Math.round(g.nodes * 0.8), not_ready: Math.round(g.nodes * 0.1), unknown: Math.round(g.nodes * 0.1), validators: g.validators, validators_low: g.validators_low, validators_high: g.validators_high })), announced: [{ fork_digest: "0xabcd0123", next_fork_version: "0x07000000", next_fork_epoch: 420000, nfd: "0x11223344", nodes: count }] });
      case "errors": return data(outcomes);
      case "concentration": return data(concentration);
      case "timeseries": return data(series(q));
      case "changes": return data(changes.filter((c) => c.at >= Number(q.get("since") ?? 0)));
      case "sentries": {
        const sentry = (id, location, k, more) => ({ id, location, version: "valtrack/v0.2.0", first_seen: now - 30 * 86400e3, last_event: Date.now() - 2000, clock_skew_ms: 12, clock_skew_at: now - 20e3, clock_errors: 0, tried: Math.round(count * 1.6), reached: Math.round(count * k), watched: 750, alone: Math.round(count * 0.01), shared: count, missed: Math.round(count * (1 - k)), reached_share: k, handshake_ms: 96, handshake_difference_ms: -60, handshakes: count * 20, hellos: count * 19, watched_hours: 4300.5, changes: 91234, faults: [], ...more });
        return data({ nodes: { by_all: Math.round(count * 0.6), by_some: Math.round(count * 0.35), by_one: Math.round(count * 0.05), by_none: Math.round(count * 0.6), sentries: 2 }, sentries: [sentry("sentry-1", "Frankfurt", 0.99, {}), sentry("sentry-2", "Singapore", 0.42, { clock_skew_ms: -2310, handshake_ms: 388, handshake_difference_ms: 290, faults: [{ fault: "clock", text: "its clock is 2.31s behind the broker's" }, { fault: "few_reached", text: "did not reach 5800 of 10000 nodes that it tried and others reached" }] }), sentry("sentry-3", null, 0.97, { version: null, clock_skew_ms: null, clock_skew_at: null })] });
      }
      case "crawl": return data({ ready: true, reason: null, sentries: [{ id: "sentry-1", location: "Frankfurt", last_event: Date.now() - 2000, events: 812345, missing_events: 0 }], funnel, outcomes, events: { lag: 14, stored: 812331, rejected: 0, last_segment: 4121, last_commit: Date.now() - 12000 }, geo_date: "2026-06-17" });
      case "datasets": return data(["discovery_events", "estimates", "metadata_events", "validator_metadata_events", "visits", "watches"].map((table, i) => ({ table, public: table === "estimates", files: 12 + i, bytes: 4e6 * (i + 1), rows: 120000 * (i + 1), parts: [] })));
      case "nodes": {
        if (id) {
          const n = nodes.find((n) => n.id === id || n.node_id === id);
          return n && (sub ? data(observations(n)) : data(detail(n)));
        }
        const list = filtered(q);
        if (q.get("format") === "geojson") return { type: "FeatureCollection", features: list.map((n) => ({ type: "Feature", geometry: { type: "Point", coordinates: [n.longitude, n.latitude] }, properties: { id: n.id, validators: n.validators, validators_low: n.validators_low, validators_high: n.validators_high, city: n.city, country_code: n.country_code } })) };
        const at = Number(q.get("cursor") ?? 0);
        const limit = Number(q.get("limit") ?? 100);
        return data(list.slice(at, at + limit), { next: at + limit < list.length ? String(at + limit) : null, total: list.length });
      }
    }
  };
}

/** Serves the built page and invented data; with port 0 on any free port. */
export function serve(count, port) {
  const api = makeAPI(count);
  const server = createServer((req, res) => {
    const { pathname, searchParams } = new URL(req.url, "http://x");
    if (pathname === "/api/v1/events") {
      res.writeHead(200, { "Content-Type": "text/event-stream" });
      res.write(": hello\n\n");
      const timer = setInterval(() => res.write(`event: summary\ndata: {}\n\n`), 5000);
      req.on("close", () => clearInterval(timer));
      return;
    }
    if (pathname.startsWith("/api/v1/")) {
      const answer = api(pathname, searchParams);
      res.writeHead(answer ? 200 : 404, { "Content-Type": answer ? "application/json" : "application/problem+json" });
      res.end(JSON.stringify(answer ?? { type: "about:blank", title: "not found", status: 404, detail: pathname + ": no such thing" }));
      return;
    }
    const name = normalize(pathname === "/" ? "/index.html" : pathname);
    const file = join(files, name + ".gz");
    if (!existsSync(file)) {
      res.writeHead(404).end();
      return;
    }
    res.writeHead(200, { "Content-Type": types[name.split(".").at(-1)] ?? "application/octet-stream", "Content-Security-Policy": policy });
    res.end(gunzipSync(readFileSync(file)));
  });
  return new Promise((done) => server.listen(port, "127.0.0.1", () => done({ url: `http://127.0.0.1:${server.address().port}/`, close: () => { server.closeAllConnections(); server.close(); } })));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log((await serve(Number(process.argv[2] ?? 8000), Number(process.argv[3] ?? 8090))).url);
