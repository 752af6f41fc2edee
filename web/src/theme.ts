import { useSyncExternalStore } from "./store";

export type Theme = "light" | "dark";

const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();
const storage = "valtrack-theme";

function chosen(): Theme | null {
  try {
    const v = localStorage.getItem(storage);
    return v === "light" || v === "dark" ? v : null;
  } catch {
    return null; // storage is off
  }
}

let theme: Theme = "light";

function apply(): void {
  theme = chosen() ?? (system.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  for (const f of listeners) f();
}

system.addEventListener("change", apply);
apply();

export const useTheme = (): Theme => useSyncExternalStore(listeners, current);
const current = () => theme;

export function toggleTheme(): void {
  const next = theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(storage, next);
    apply();
  } catch {
    document.documentElement.dataset.theme = theme = next;
    for (const f of listeners) f();
  }
}

/** The value of a colour variable, for canvases. */
export const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
