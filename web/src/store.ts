import { useLayoutEffect, useReducer, useRef } from "preact/hooks";

/** Renders again when a listener is called and what get returns has changed. */
export function useSyncExternalStore<T>(listeners: Set<() => void>, get: () => T): T {
  const value = get();
  const shown = useRef(value);
  shown.current = value;
  const [, render] = useReducer((n: number) => n + 1, 0);
  useLayoutEffect(() => {
    const changed = () => {
      if (get() !== shown.current) render(undefined as never);
    };
    listeners.add(changed);
    changed();
    return () => void listeners.delete(changed);
  }, [listeners, get]);
  return value;
}
