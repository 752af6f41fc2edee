import { refresh } from "./api";
import { isSite, updated as copyUpdated } from "./site";
import { useSyncExternalStore } from "./store";

/** Whether the server sends updates; a copy is a static one, which is asked for again. */
export type Live = "connecting" | "live" | "lost" | "copy";

let state: Live = "connecting";
const listeners = new Set<() => void>();
const minimum = 5_000; // ms between updates of the page
const retry = 5_000;
const fallback = 60_000; // asks without an update, so that ages are right

function set(next: Live): void {
  state = next;
  for (const f of listeners) f();
}

const current = () => state;
export const useLive = (): Live => useSyncExternalStore(listeners, current);

let last = 0;
let timer = 0;

function updated(): void {
  if (timer || document.hidden) return;
  timer = window.setTimeout(
    () => {
      timer = 0;
      last = Date.now();
      refresh();
    },
    Math.max(0, last + minimum - Date.now()),
  );
}

/** Looks for a newer update of a static copy. */
async function look(): Promise<void> {
  try {
    if (await copyUpdated()) refresh();
    set("copy");
  } catch {
    set("lost");
  }
}

/** Follows the server's events for as long as the page is open. */
export function follow(): void {
  if (isSite) {
    void look();
    setInterval(() => document.hidden || void look(), fallback);
    return;
  }
  const source = new EventSource("api/v1/events");
  source.onopen = () => {
    if (state === "lost") updated(); // the server is back
    set("live");
  };
  source.addEventListener("summary", updated);
  source.onerror = () => {
    set("lost");
    updated();
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again
    setTimeout(follow, retry);
  };
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || Date.now() - last <= minimum) return;
  if (isSite) void look();
  else updated();
});
setInterval(() => {
  if (!isSite && Date.now() - last > fallback) updated();
}, fallback / 4);
