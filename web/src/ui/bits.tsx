import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { fetchAPI, hasKey, Problem } from "../api";
import { brief, clientColour, clientName, known, num, range, releaseName } from "../format";
import { save } from "../save";

/** A tile: one number that a visitor remembers. */
export function Tile({ label, value, children, tone, name }: { label: ComponentChildren; value: ComponentChildren; children?: ComponentChildren; tone?: "warn"; name: string }) {
  return (
    <div class={"card tile" + (tone ? " " + tone : "")} data-tile={name}>
      <dt>{label}</dt>
      <dd>
        <strong>{value}</strong>
        <span class="sub">{children}</span>
      </dd>
    </div>
  );
}

/** A country's or a state's short code. */
export const Chip = ({ children, kind }: { children: ComponentChildren; kind?: string }) => <span class={"chip " + (kind ?? "")}>{children}</span>;

export const Dot = ({ colour }: { colour: string }) => <span class="dot" style={{ background: colour }} aria-hidden="true" />;

/** A client and its release. */
export const Client = ({ client, release }: { client?: string | null; release?: string | null }) => (
  <>
    <Dot colour={clientColour(client)} /> {clientName(client)} {clientName(client) !== clientName(null) && <span class="sub">{releaseName(release)}</span>}
  </>
);

/** A link to a file of the API. With a key the page fetches it, since a link sends none. */
export function Download({ href, label, children }: { href: string; label?: string; children: ComponentChildren }) {
  const [problem, setProblem] = useState("");
  const fetchIt = async (e: Event) => {
    if (!hasKey()) return;
    e.preventDefault();
    setProblem("");
    try {
      const res = await fetchAPI(href);
      const name = /filename="([^"]+)"/.exec(res.headers.get("Content-Disposition") ?? "")?.[1];
      save(name ?? "valtrack", res.headers.get("Content-Type") ?? "", await res.blob());
    } catch (e) {
      setProblem(e instanceof Problem ? e.message : "The response was cut off.");
    }
  };
  return (
    <>
      <a href={href} download aria-label={label} onClick={fetchIt}>
        {children}
      </a>
      {problem && <span role="alert"> {problem}</span>}
    </>
  );
}

/** A number of validators with its interval. */
export function Estimate({ v, low, high }: { v?: number | null; low?: number | null; high?: number | null }) {
  if (!known(v)) return <span class="sub">unknown</span>;
  return (
    <span class="estimate">
      <b>{num(v)}</b> <span class="sub">{range(low, high)}</span>
    </span>
  );
}

/** Puts a text into the clipboard; whether it is there. */
async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain HTTP, except to this machine, browsers have no clipboard for scripts.
  }
  const focused = document.activeElement as HTMLElement | null;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "hidden";
  document.body.append(area);
  area.select();
  const ok = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return ok;
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    if (!(await copied(text))) return;
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <>
      <button type="button" class="copy" onClick={copy} aria-label={"Copy " + label}>
        {done ? "Copied" : "Copy"}
      </button>
      <span class="hidden" role="status">
        {done && "Copied"}
      </span>
    </>
  );
}

export const Id = ({ id }: { id: string }) => (
  <code title={id} class="id">
    {brief(id)}
  </code>
);

/** One of several views of a picture. */
export function Switch<T extends string>({ label, value, options, onChange }: { label: string; value: T; options: readonly (readonly [T, string])[]; onChange: (v: T) => void }) {
  return (
    <div class="switch" role="group" aria-label={label}>
      {options.map(([v, text]) => (
        <button key={v} type="button" aria-pressed={v === value} onClick={() => onChange(v)}>
          {text}
        </button>
      ))}
    </div>
  );
}

export interface Bar {
  key: string;
  label: ComponentChildren;
  value: number;
  text: string;
  colour?: string;
  low?: number | null;
  high?: number | null;
  /** Parts of the bar, from its beginning: values that add up to at most value. */
  parts?: { name: string; value: number }[];
}

/** Bars in a list, with whiskers for intervals and lines at some values. */
export function Bars({ bars, max, lines }: { bars: Bar[]; max?: number; lines?: number[] }) {
  const top = max ?? Math.max(1e-9, ...bars.map((b) => Math.max(b.value, b.high ?? 0)));
  const at = (v: number) => Math.min(100, (v / top) * 100) + "%";
  return (
    <ul class="bars">
      {bars.map((b) => (
        <li key={b.key}>
          <span class="label">{b.label}</span>
          <span class="value">{b.text}</span>
          <span class="track" aria-hidden="true" style={{ "--bar": b.colour ?? "var(--accent)" }}>
            <span class={"fill" + (b.parts?.length ? " parted" : "")} style={{ width: at(b.value) }}>
              {b.parts?.map((part, i) => <i key={part.name} title={part.name} style={{ width: (part.value / b.value) * 100 + "%", opacity: 1 - Math.min(0.75, i * 0.25) }} />)}
            </span>
            {known(b.low) && known(b.high) && <span class="whisker" style={{ left: at(b.low), width: `calc(${at(b.high)} - ${at(b.low)})` }} />}
            {lines?.map((l) => (l <= top ? <span key={l} class="line" style={{ left: at(l) }} /> : null))}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** Parts of a whole in one bar. */
export function Stack({ parts, label }: { parts: { name: string; value: number; colour: string }[]; label: string }) {
  const sum = parts.reduce((s, p) => s + p.value, 0) || 1;
  return (
    <div class="stack" role="img" aria-label={label + ": " + parts.map((p) => `${p.name} ${((p.value / sum) * 100).toFixed(1)} %`).join(", ")}>
      {parts.map((p) => (
        <span key={p.name} title={`${p.name} ${((p.value / sum) * 100).toFixed(1)} %`} style={{ flexGrow: p.value, background: p.colour }} />
      ))}
    </div>
  );
}
