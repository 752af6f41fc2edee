import { useSyncExternalStore } from "./store";

/** A page and its parameters: all of it is in the address, behind the #, so that it can be linked. */
export interface Route {
  path: string;
  params: URLSearchParams;
}

function parse(): Route {
  const [path, query] = location.hash.replace(/^#/, "").split("?", 2);
  return { path: path || "/", params: new URLSearchParams(query ?? "") };
}

let current = parse();
const listeners = new Set<() => void>();

addEventListener("hashchange", () => {
  current = parse();
  for (const f of listeners) f();
});

export function useRoute(): Route {
  return useSyncExternalStore(listeners, () => current);
}

export type Params = Record<string, string | number | boolean | null | undefined | string[]>;

/** Parameters without those that are empty. */
export function query(params: Params): string {
  const out = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (Array.isArray(value)) value.forEach((v) => out.append(name, v));
    else if (value !== null && value !== undefined && value !== "") out.append(name, String(value));
  }
  const text = out.toString();
  return text && "?" + text;
}

export const href = (path: string, params: Params = {}): string => "#" + path + query(params);

export function go(path: string, params: Params = {}, replace = false): void {
  if (!replace) {
    location.hash = href(path, params);
    return;
  }
  history.replaceState(null, "", href(path, params));
  current = parse();
  for (const f of listeners) f();
}

/** Sets a parameter of the page that is shown, or removes it when it is empty, and keeps the others. */
export function setParam(name: string, value: string): void {
  const { path, params } = current;
  const next: Record<string, string[]> = {};
  for (const n of params.keys()) next[n] = params.getAll(n);
  next[name] = value ? [value] : [];
  go(path, next, true);
}
