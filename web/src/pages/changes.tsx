import { useMemo } from "preact/hooks";
import { useAPI, type Change } from "../api";
import { Plot } from "../chart/plot";
import { ago, capital, clientColour, duration, known, num, time } from "../format";
import { go, href, useRoute } from "../route";
import { Dot, Id, Switch } from "../ui/bits";
import { Card } from "../ui/card";
import { NothingYet } from "../ui/states";

const kinds = ["appeared", "vanished", "moved", "upgraded", "started_validating", "stopped_validating"] as const;
const kindName = (k: string) => capital(k.replaceAll("_", " "));
const spans = [
  ["1h", "Hour"],
  ["24h", "Day"],
  ["168h", "Week"],
  ["720h", "30 days"],
] as const;
type Span = (typeof spans)[number][0];

function What({ c }: { c: Change }) {
  if (c.replaces)
    return (
      <>
        replaces <Id id={c.replaces} /> at its address
      </>
    );
  if (c.from || c.to) return <>{`${c.from ?? "?"} → ${c.to ?? "?"}`}</>;
  return <span class="sub">–</span>;
}

/** Nodes and validators over the span, with the interval. */
function Totals({ from, span }: { from: number; span: number }) {
  const t = useAPI("/api/v1/timeseries", { metric: ["nodes", "validators"], step: span > 3 * 86400e3 ? "6h" : "1h", from });
  const points = useMemo(() => (t.answer?.data ?? []).filter((p) => known(p.time)), [t.answer]);
  const times = useMemo(() => points.map((p) => p.time!), [points]);
  const nodes = useMemo(() => [{ name: "nodes", colour: "--accent", values: points.map((p) => p.nodes ?? null) }], [points]);
  const validators = useMemo(() => [{ name: "validators", colour: "--validators", values: points.map((p) => p.validators ?? null), low: points.map((p) => p.validators_low ?? null), high: points.map((p) => p.validators_high ?? null) }], [points]);
  const rows = points.map((p) => ({ time: new Date(p.time!).toISOString(), nodes: p.nodes, validators: p.validators, validators_low: p.validators_low, validators_high: p.validators_high }));
  const common = { meta: t.answer?.meta, problem: t.problem, loading: t.loading, rows, empty: t.answer && times.length < 2 && "History begins with the first hour of the crawl." };
  return (
    <>
      <Card class="half" title="Reachable nodes over time" method="Nodes with a handshake in the day before, one per address." {...common}>
        <Plot times={times} series={nodes} label="Nodes over time; the table has the numbers" height={180} />
      </Card>
      <Card class="half" title="Validators over time" sub="attachments with their 90 % interval" method="Estimated at that time from all evidence until then." {...common}>
        <Plot times={times} series={validators} label="Estimated validators over time; the table has the numbers" height={180} />
      </Card>
    </>
  );
}

export function ChangesPage() {
  const { params } = useRoute();
  const span = (spans.some(([s]) => s === params.get("span")) ? params.get("span") : "24h") as Span;
  const kind = params.get("kind");
  const ms = parseInt(span) * 3600e3;
  const since = useMemo(() => Math.floor(Date.now() / 60e3) * 60e3 - ms + 60e3, [ms]);
  const changes = useAPI("/api/v1/changes", { since });
  if (!changes.answer && !changes.loading) return <NothingYet problem={changes.problem} />;
  const all = changes.answer?.data ?? [];
  const shown = kind ? all.filter((c) => c.kind === kind) : all;
  const set = (p: { span?: string; kind?: string | null }) => go("/changes", { span, kind, ...p }, true);
  return (
    <>
      <div class="bar">
        <Switch label="Since" value={span} options={spans} onChange={(s) => set({ span: s })} />
      </div>
      <div class="tiles six">
        {kinds.map((k) => (
          <button key={k} type="button" class="card tile" aria-pressed={kind === k} onClick={() => set({ kind: kind === k ? null : k })}>
            <span>{kindName(k)}</span>
            <strong>{num(all.filter((c) => c.kind === k).length)}</strong>
            <span class="sub">in {duration(ms)}</span>
          </button>
        ))}
      </div>
      <div class="grid">
        <Totals from={since} span={ms} />
        <Card class="full" title="Changes" sub={`${num(shown.length)} ${kind ? kindName(kind).toLowerCase() : "in all"}, newest first`} method="A node vanished when it was dialled and did not answer; it moved when it was reached at another address." meta={changes.answer?.meta} loading={changes.loading} rows={shown.map((c) => ({ kind: c.kind, id: c.id, at: c.at && new Date(c.at).toISOString(), client: c.client, from: c.from, to: c.to, replaces: c.replaces }))} empty={changes.answer && !shown.length && "Nothing changed in this time."}>
          <div class="scroll" tabIndex={0} role="region" aria-label="Table: Changes">
            <table>
              <thead>
                <tr>
                  <th scope="col">When</th>
                  <th scope="col">What</th>
                  <th scope="col">Node</th>
                  <th scope="col">Client</th>
                  <th scope="col">From → to</th>
                </tr>
              </thead>
              <tbody>
                {shown.slice(0, 200).map((c) => (
                  <tr key={c.kind + c.id + c.at}>
                    <td title={time(c.at)}>{ago(c.at)}</td>
                    <td>{kindName(c.kind)}</td>
                    <td>
                      <a href={href("/node/" + c.id)}>
                        <Id id={c.id} />
                      </a>
                    </td>
                    <td>
                      <Dot colour={clientColour(c.client)} /> {c.client ? capital(c.client) : "Unknown"} <span class="sub">{c.version}</span>
                    </td>
                    <td>
                      <What c={c} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </Card>
      </div>
    </>
  );
}
