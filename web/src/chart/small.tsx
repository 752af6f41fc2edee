import { compact, known, num } from "../format";
import { Term } from "../glossary";

export interface Column {
  label: string;
  value: number;
  muted?: boolean;
}

/** A histogram. */
export function Histogram({ columns, label }: { columns: Column[]; label: string }) {
  const top = Math.max(1, ...columns.map((c) => c.value));
  return (
    <div class="histogram" role="img" aria-label={label + ": " + columns.map((c) => `${c.label}: ${num(c.value)}`).join("; ")}>
      {columns.map((c) => (
        <div key={c.label} title={`${c.label}: ${num(c.value)}`}>
          <span class="sub">{compact(c.value)}</span>
          <i class={c.muted ? "muted" : ""} style={{ height: `calc((100% - var(--words)) * ${c.value / top})` }} />
          <span class="tick">{c.label.split(/(?<=–)/).map((part) => [part, <wbr />])}</span>
        </div>
      ))}
    </div>
  );
}

/** Cells whose colour says how large their number is. */
export function Heat({ values, label, detail }: { values: number[]; label: string; detail: (i: number) => string }) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const strength = (v: number) => (high > low ? (v - low) / (high - low) : 0.5);
  return (
    <div class="heat" role="img" aria-label={`${label}: from ${num(low)} to ${num(high)}`}>
      {values.map((v, i) => (
        <span key={i} title={detail(i)}>
          <i style={{ opacity: 0.12 + 0.88 * strength(v) }} />
          <b>{i}</b>
        </span>
      ))}
    </div>
  );
}

/** Steps, each a part of the one before. */
export function FunnelChart({ steps }: { steps: { name: string; term?: string; value?: number | null; text?: string }[] }) {
  const top = Math.max(1, ...steps.map((s) => s.value ?? 0));
  return (
    <ol class="funnel">
      {steps.map((s) => (
        <li key={s.name}>
          <span>{s.term ? <Term name={s.term}>{s.name}</Term> : s.name}</span>
          <span class="track" aria-hidden="true">
            {known(s.value) && <i style={{ width: (s.value / top) * 100 + "%" }} />}
          </span>
          <span class="value">{s.text ?? num(s.value)}</span>
        </li>
      ))}
    </ol>
  );
}
