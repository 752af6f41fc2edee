import type { ComponentChildren } from "preact";
import { useId, useRef, useState } from "preact/hooks";
import type { Meta, Problem } from "../api";
import { ago, time } from "../format";
import { png } from "../png";
import { csv, picture, save, type Row } from "../save";

interface Props {
  title: string;
  sub?: ComponentChildren;
  /** How the numbers come about, in a sentence. */
  method?: ComponentChildren;
  meta?: Meta;
  /** What the picture shows, for the table and the CSV. */
  rows?: Row[];
  actions?: ComponentChildren;
  class?: string;
  /** Shown instead of the picture when there is nothing to show. */
  empty?: ComponentChildren;
  problem?: Problem;
  loading?: boolean;
  children?: ComponentChildren;
}

/** A card with a picture, that as SVG and PNG, its data as a table and CSV, its method and their age. */
export function Card(p: Props) {
  const id = useId();
  const shown = useRef<HTMLDivElement>(null);
  const [table, setTable] = useState(false);
  const name = "valtrack-" + p.title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const has = !!p.rows?.length && !p.empty;
  // A picture that is passed on says what it is of, and that its network is not a real one.
  const mark = "Valtrack" + (p.meta ? `, ${p.meta.network}${p.meta.simulated ? " (simulated network)" : ""}, ${time(p.meta.as_of)}` : "");
  return (
    <section class={"card " + (p.class ?? "")} aria-labelledby={id}>
      <header>
        <div>
          <h2 id={id}>{p.title}</h2>
          {p.sub && <p class="sub">{p.sub}</p>}
        </div>
        {p.actions}
      </header>
      <div class="body" ref={shown} hidden={table}>
        {p.loading ? <div class="skeleton" role="status" aria-label={"Loading " + p.title} /> : p.problem && !p.rows?.length ? <Note>{p.problem.message}</Note> : p.empty ? <Note>{p.empty}</Note> : p.children}
      </div>
      {table && has && <DataTable rows={p.rows!} title={p.title} />}
      {(p.method || has) && (
        <footer>
          <p>
            {p.method} {p.meta?.as_of ? <span class="age">Data {ago(p.meta.as_of)}.</span> : null}
          </p>
          {has && (
            <span class="tools">
              <button type="button" aria-pressed={table} onClick={() => setTable(!table)} aria-label={"Table: " + p.title}>
                Table
              </button>
              <button type="button" onClick={() => save(name + ".csv", "text/csv", csv(p.rows!))} aria-label={"CSV: " + p.title}>
                CSV
              </button>
              {!table && (
                <button type="button" onClick={() => save(name + ".svg", "image/svg+xml", picture(shown.current!, p.title, mark))} aria-label={"SVG: " + p.title}>
                  SVG
                </button>
              )}
              {!table && (
                <button type="button" onClick={async () => save(name + ".png", "image/png", (await png(shown.current!.closest("section")!, mark))!)} aria-label={"PNG: " + p.title}>
                  PNG
                </button>
              )}
            </span>
          )}
        </footer>
      )}
    </section>
  );
}

export function Note({ children }: { children: ComponentChildren }) {
  return <p class="note">{children}</p>;
}

function DataTable({ rows, title }: { rows: Row[]; title: string }) {
  const names = Object.keys(rows[0]);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={title + ", data"}>
      <table>
        <thead>
          <tr>
            {names.map((n) => (
              <th key={n} scope="col" class={rows.some((r) => typeof r[n] === "number") ? "n" : ""}>
                {n.replaceAll("_", " ")}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, 500).map((r, i) => (
            <tr key={i}>
              {names.map((n) => (
                <td key={n} class={typeof r[n] === "number" ? "n" : ""}>
                  {typeof r[n] === "number" ? Number(r[n]).toLocaleString("en-US", { maximumFractionDigits: 4 }) : String(r[n] ?? "–")}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > 500 && <p class="sub">The first 500 of {rows.length} rows; the CSV has all.</p>}
    </div>
  );
}
