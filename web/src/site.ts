// A static copy of the page, as `valtrack site` writes it: the answers of the API are files in
// the directory that site.json names. What a server does with parameters is done here.
import type { NodeRow, Point, Change } from "./api";
import { Problem } from "./problem";

const marker = document.querySelector<HTMLMetaElement>('meta[name="valtrack-site"]');

/** Whether this is a static copy. */
export const isSite = marker !== null;

export interface Manifest {
  version: string;
  /** Unix milliseconds. */
  made: number;
  /** Time between updates in milliseconds, 0 for none. */
  every_ms: number;
}

interface Answer<T> {
  data: T;
  meta: Record<string, unknown>;
}

let manifest: Promise<Manifest> | null = null;
const files = new Map<string, Promise<unknown>>(); // of the version

async function read(path: string, init?: RequestInit): Promise<unknown> {
  let res: Response;
  try {
    res = await fetch(path, init);
  } catch {
    throw new Problem(0, "The files cannot be reached. The page asks again by itself.");
  }
  if (!res.ok) throw new Problem(res.status, `The file ${path} cannot be read: ${res.status}.`);
  return res.json();
}

const newest = () => read(marker!.content, { cache: "no-cache" }) as Promise<Manifest>;

/** What the newest update says of itself. */
export function current(): Promise<Manifest> {
  manifest ??= newest();
  manifest.catch(() => (manifest = null));
  return manifest;
}

/** Whether there is a newer update; it is read from then on. */
export async function updated(): Promise<boolean> {
  const next = await newest();
  const last = manifest && (await manifest.catch(() => null));
  if (last?.version === next.version) return false;
  manifest = Promise.resolve(next);
  files.clear();
  return true;
}

async function file<T>(name: string): Promise<Answer<T>> {
  const { version } = await current();
  const held = files.get(name) ?? read(`data/${version}/${name}.json`);
  files.set(name, held);
  try {
    return (await held) as Answer<T>;
  } catch (e) {
    files.delete(name);
    // The update was removed since the page was opened: its successor is there.
    if (e instanceof Problem && e.status === 404 && (await updated())) return file(name);
    throw e;
  }
}

/** The answer to a request of the API, given its address relative to the page. */
export async function answer(address: string): Promise<unknown> {
  const [path, search] = address.split("?", 2);
  const params = new URLSearchParams(search ?? "");
  const [name, id, part] = path.replace(/^api\/v1\//, "").split("/");
  if (name === "timeseries") return series(params);
  if (name === "changes") return changes(params);
  if (name === "nodes" && !id) return params.get("format") === "geojson" ? geojson(await rows(params)) : page(params);
  if (name === "nodes" && !part) return node(decodeURIComponent(id));
  if (!id && names.includes(name)) return file(name);
  throw new Problem(404, "This is on the server that the copy was made from.");
}

const names = ["summary", "countries", "cities", "networks", "hosting", "clients", "subnets", "forks", "errors", "concentration"];

async function series(params: URLSearchParams): Promise<Answer<Point[]>> {
  const { data, meta } = await file<Point[]>("timeseries-" + (params.get("step") ?? "1h"));
  const from = Number(params.get("from") ?? 0);
  return { data: data.filter((p) => (p.time ?? 0) >= from), meta };
}

async function changes(params: URLSearchParams): Promise<Answer<Change[]>> {
  const since = Number(params.get("since") ?? Date.now() - 86400e3);
  const days = [1, 7, 30].find((d) => since >= Date.now() - d * 86400e3 - 120e3) ?? 30;
  const { data, meta } = await file<Change[]>(`changes-${days}d`);
  return { data: data.filter((c) => (c.found_at ?? 0) >= since), meta };
}

const text = (v: unknown): string => String(v ?? "");

/** Columns that are compared with the values of the parameter of this name. */
const columns: Record<string, keyof NodeRow> = { client: "client", version: "client_release", country: "country_code", asn: "asn", hosting: "hosting", cloud: "cloud", fork_digest: "fork_digest" };

function matches(n: NodeRow, params: URLSearchParams): boolean {
  for (const [name, column] of Object.entries(columns)) {
    const wanted = params.getAll(name);
    if (wanted.length && !wanted.includes(text(n[column])) && !(text(n[column]) === "" && (wanted.includes("none") || wanted.includes("unknown")))) return false;
  }
  const flags = params.getAll("flag");
  if (flags.length && !flags.some((f) => n.flags?.includes(f))) return false;
  const v = n.validators;
  if (params.has("validators_from") && !((v ?? -1) >= Number(params.get("validators_from")))) return false;
  if (params.has("validators_to") && !((v ?? Infinity) <= Number(params.get("validators_to")))) return false;
  if (params.has("all_subnets") && text(n.all_subnets) !== params.get("all_subnets")) return false;
  const q = params.get("q");
  return !q || text(n.id).startsWith(q) || text(n.node_id).startsWith("0x" + q.toLowerCase().replace(/^0x/, ""));
}

function compare(a: NodeRow, b: NodeRow, column: keyof NodeRow, descending: boolean): number {
  const [x, y] = [a[column], b[column]];
  const none = Number(x === null || x === undefined) - Number(y === null || y === undefined);
  if (none) return none; // what is not known comes last
  const order = x! < y! ? -1 : x! > y! ? 1 : 0;
  return (descending ? -order : order) || (text(a.id) < text(b.id) ? -1 : 1);
}

/** All nodes that match the parameters of /nodes, in their order. */
export async function rows(params: URLSearchParams): Promise<NodeRow[]> {
  if (params.get("q")?.startsWith("enr:")) throw new Problem(400, "This copy is searched by peer id or node id, or the beginning of one: records are not in it.");
  const { data } = await file<NodeRow[]>("nodes");
  const sort = params.get("sort") ?? "id";
  const column = sort.replace(/^-/, "") as keyof NodeRow;
  return data.filter((n) => matches(n, params)).sort((a, b) => compare(a, b, column, sort.startsWith("-")));
}

async function page(params: URLSearchParams): Promise<Answer<NodeRow[]>> {
  const all = await rows(params);
  const { meta } = await file("nodes");
  const from = Number(params.get("cursor") ?? 0);
  const to = from + Number(params.get("limit") ?? 100);
  return { data: all.slice(from, to), meta: { ...meta, total: all.length, next: to < all.length ? String(to) : null } };
}

async function node(id: string): Promise<Answer<NodeRow>> {
  const { data, meta } = await file<NodeRow[]>("nodes");
  const found = data.find((n) => n.id === id || n.node_id === id.toLowerCase());
  if (!found) throw new Problem(404, "No node of the last day has this id.");
  return { data: Object.assign({ counted: true, why: "", signals: {}, days: [], custody_history: [], other_ids: [] }, found), meta };
}

function geojson(list: NodeRow[]): unknown {
  const located = list.filter((n) => typeof n.latitude === "number" && typeof n.longitude === "number");
  return { type: "FeatureCollection", features: located.map((n) => ({ type: "Feature", geometry: { type: "Point", coordinates: [n.longitude, n.latitude] }, properties: n })) };
}
