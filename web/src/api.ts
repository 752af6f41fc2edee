import { useEffect, useMemo } from "preact/hooks";
import { Problem } from "./problem";
import { query, type Params } from "./route";
import type { components, paths } from "./schema";
import { answer as copied, isSite } from "./site";
import { useSyncExternalStore } from "./store";

type Schemas = components["schemas"];
export type Meta = Schemas["Meta"];
export type Group = Schemas["Group"];
export type Summary = Schemas["Summary"];
export type Funnel = Schemas["Funnel"];
export type NodeRow = Schemas["Node"];
export type NodeDetail = Schemas["NodeDetail"];
export type Interval = NonNullable<Schemas["Interval"]>;
export type Point = Schemas["Point"];
export type Change = Schemas["Change"];
export type Crawl = Schemas["Crawl"];
export type Concentration = JSONOf<"/api/v1/concentration">["data"][number];
export type Forks = Schemas["Forks"];

type JSONOf<P extends keyof paths> = paths[P] extends { get: { responses: { 200: { content: { "application/json": infer A } } } } } ? A : never;
/** Paths whose answers are data and meta. */
export type Path = { [P in keyof paths]: JSONOf<P> extends { data: unknown; meta: unknown } ? P : never }[keyof paths];
type Answer<P extends Path> = JSONOf<P> & { data: unknown; meta: unknown };

export { Problem };

const keyStorage = "valtrack-key";
let key = sessionStorage.getItem(keyStorage) ?? "";

export const hasKey = (): boolean => key !== "";

/** Sends this key from now on; it is forgotten when the tab closes. */
export function setKey(k: string): void {
  key = k;
  if (k) sessionStorage.setItem(keyStorage, k);
  else sessionStorage.removeItem(keyStorage);
  entries.clear();
  refresh();
}

const headers = (): HeadersInit => (key ? { "X-API-Key": key } : {});

export async function fetchAPI(url: string): Promise<Response> {
  let res: Response;
  try {
    res = await fetch(url, { headers: headers() });
  } catch {
    throw new Problem(0, "The server cannot be reached. The page asks again by itself.");
  }
  if (res.ok) return res;
  const body = await res.json().catch(() => ({}));
  throw new Problem(res.status, body.detail ?? body.title ?? `The server answered ${res.status}.`, Number(res.headers.get("Retry-After") ?? 0));
}

/** An answer in JSON: of the API, or of a static copy. */
export async function ask(address: string): Promise<unknown> {
  return isSite ? copied(address) : (await fetchAPI(address)).json();
}

/** The address of an answer, relative to the page. {id} and the like are taken from params. */
export function url(path: keyof paths, params: Params = {}): string {
  const rest = { ...params };
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const v = String(rest[name]);
    delete rest[name];
    return encodeURIComponent(v);
  });
  return filled.slice(1) + query(rest);
}

/** The step of a time series over so many milliseconds. A simulated network has hours of minutes. */
export function useStep(span: number): "1h" | "6h" | "all" {
  const simulated = useAPI("/api/v1/summary").answer?.meta.simulated;
  return simulated ? "all" : span > 3 * 86400e3 ? "6h" : "1h";
}

export interface Result<A> {
  answer?: A;
  problem?: Problem;
  loading: boolean;
}

interface Entry {
  result: Result<unknown>;
  at: number; // version that it was asked for at
  used: number;
}

const entries = new Map<string, Entry>();
const listeners = new Set<() => void>();
let version = 1;

function notify(): void {
  for (const f of listeners) f();
}

/** Has everything that is shown fetched again; what is shown stays until the answers are there. */
export function refresh(): void {
  version++;
  notify();
  for (const [address, entry] of entries) {
    if (entry.used > 0) void load(address);
    else entries.delete(address);
  }
}

async function load(address: string): Promise<void> {
  const entry = entries.get(address)!;
  const asked = (entry.at = version);
  let result: Result<unknown>;
  try {
    result = { answer: await ask(address), loading: false };
  } catch (e) {
    const problem = e instanceof Problem ? e : new Problem(0, "The answer was cut off.");
    result = { answer: entry.result.answer, problem, loading: false };
  }
  if (entry.at !== asked || entries.get(address) !== entry) return; // asked for again meanwhile
  entry.result = result;
  notify();
}

/** An answer of the API, kept current. A null path asks for nothing. */
export function useAPI<P extends Path>(path: P | null, params: Params = {}): Result<Answer<P>> {
  const address = path === null ? "" : url(path, params);
  let entry = entries.get(address);
  if (!entry) {
    entry = { result: { loading: address !== "" }, at: 0, used: 0 };
    entries.set(address, entry);
  }
  const held = entry;
  useEffect(() => {
    // A refresh may have removed the entry between rendering and now.
    const shown = entries.get(address) ?? held;
    entries.set(address, shown);
    shown.used++;
    if (address !== "" && shown.at === 0) void load(address);
    return () => void shown.used--;
  }, [held]);
  const get = useMemo(() => () => (entries.get(address) ?? held).result, [address, held]);
  return useSyncExternalStore(listeners, get) as Result<Answer<P>>;
}
