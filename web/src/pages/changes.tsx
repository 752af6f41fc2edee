import { useMemo } from "preact/hooks";
import { useAPI, useStep, type Change } from "../api";
import { Plot } from "../chart/plot";
import { ago, capital, duration, known, num, pointTimes, time } from "../format";
import { Term } from "../glossary";
import { go, href, setParam, useRoute } from "../route";
import { Client, Id, Switch } from "../ui/bits";
import { Card } from "../ui/card";
import { historyBegins, NothingYet } from "../ui/states";

const kinds = ["appeared", "vanished", "moved", "upgraded", "started_validating", "stopped_validating"] as const;
const kindVerb = (k: string) => k.replaceAll("_", " ");
const kindName = (k: string) => capital(kindVerb(k));
const listed = 50; // the CSV has all
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
  const t = useAPI("/api/v1/timeseries", { metric: ["nodes", "validators"], step: useStep(span), from });
  const points = useMemo(() => (t.answer?.data ?? []).filter((p) => known(p.totals_at)), [t.answer]);
  const times = useMemo(() => pointTimes(points), [points]);
  const nodes = useMemo(() => [{ name: "nodes", colour: "--accent", values: points.map((p) => p.nodes ?? null) }], [points]);
  const validators = useMemo(() => [{ name: "validators", colour: "--validators", values: points.map((p) => p.validators ?? null), low: points.map((p) => p.validators_low ?? null), high: points.map((p) => p.validators_high ?? null) }], [points]);
  const rows = points.map((p, i) => ({ time: new Date(times[i]).toISOString(), nodes: p.nodes, validators: p.validators, validators_low: p.validators_low, validators_high: p.validators_high }));
  const common = { meta: t.answer?.meta, problem: t.problem, loading: t.loading, rows, empty: t.answer && times.length < 2 && historyBegins };
  return (
    <>
      <Card class="half" title="Reachable nodes over time" method="Nodes that were met in the day before, by a handshake or in a watch, one per IP address and port." {...common}>
        <Plot times={times} series={nodes} label="Nodes over time; the table has the numbers" height={180} />
      </Card>
      <Card class="half" title="Validators over time" sub={<>with the <Term name="90 % interval" />; one that runs on two nodes <Term name="attachments">counts twice</Term></>} method="Estimated at that time, from all evidence until then." {...common}>
        <Plot times={times} series={validators} label="Estimated validators over time; the table has the numbers" height={180} />
      </Card>
    </>
  );
}

/** How many nodes announced the next fork at each time. */
function Readiness({ from, span }: { from: number; span: number }) {
  const t = useAPI("/api/v1/timeseries", { metric: "forks", step: useStep(span), from });
  const points = useMemo(() => (t.answer?.data ?? []).filter((p) => known(p.time) && known(p.fork_ready)), [t.answer]);
  const times = useMemo(() => pointTimes(points), [points]);
  const series = useMemo(
    () => [
      { name: "ready", colour: "--good", values: points.map((p) => p.fork_ready ?? null) },
      { name: "not ready", colour: "--bad", values: points.map((p) => p.fork_not_ready ?? null) },
      { name: "unknown", colour: "--quiet", values: points.map((p) => p.fork_unknown ?? null) },
    ],
    [points],
  );
  const forks = [...new Set(points.map((p) => p.fork))].map((f) => capital(f ?? "")).join(", then ");
  return (
    <Card
      class="full"
      title="Fork readiness over time"
      sub={forks ? `nodes by whether their record announces ${forks}, stacked` : "nodes by whether their record announces the next fork"}
      method={<>Ready: the record's <Term name="nfd">next digest</Term> is that of the next fork at that time. Unknown: the record has none.</>}
      meta={t.answer?.meta}
      problem={t.problem}
      loading={t.loading}
      rows={points.map((p, i) => ({ time: new Date(times[i]).toISOString(), fork: p.fork, ready: p.fork_ready, not_ready: p.fork_not_ready, unknown: p.fork_unknown }))}
      empty={t.answer && (points.length === 0 ? "No fork is scheduled, or none was when these totals were computed." : points.length < 2 && historyBegins)}
    >
      <Plot times={times} series={series} stacked label="Nodes by readiness for the next fork over time; the table has the numbers" height={160} />
    </Card>
  );
}

export function ChangesPage() {
  const { params } = useRoute();
  const span = (spans.some(([s]) => s === params.get("span")) ? params.get("span") : "24h") as Span;
  const kind = params.get("kind");
  const ms = parseInt(span) * 3600e3;
  // An hour less than the 30 days that the API keeps: it refuses more, by its own clock.
  const since = useMemo(() => Math.floor(Date.now() / 60e3) * 60e3 - Math.min(ms - 60e3, (720 - 1) * 3600e3), [ms]);
  const changes = useAPI("/api/v1/changes", { since });
  if (!changes.answer && !changes.loading) return <NothingYet problem={changes.problem} />;
  const all = changes.answer?.data ?? [];
  const shown = kind ? all.filter((c) => c.kind === kind) : all;
  // The API may give the newest of them only.
  const more = changes.answer?.meta.next ? "+" : "";
  return (
    <>
      <div class="bar">
        <Switch label="Since" value={span} options={spans} onChange={(s) => go("/changes", { span: s, kind }, true)} />
      </div>
      <div class="tiles six">
        {kinds.map((k) => (
          <button key={k} type="button" class="card tile" aria-pressed={kind === k} onClick={() => setParam("kind", kind === k ? "" : k)}>
            <span>{kindName(k)}</span>
            <strong>
              {num(all.filter((c) => c.kind === k).length)}
              {more}
            </strong>
            <span class="sub">{more ? `among the newest ${num(all.length)} changes` : `in ${duration(ms)}`}</span>
          </button>
        ))}
      </div>
      <div class="grid">
        <Totals from={since} span={ms} />
        <Readiness from={since} span={ms} />
        <Card class="full" title="Changes" sub={`${num(shown.length)}${more} ${kind ? kindName(kind).toLowerCase() : "in all"}, newest first`} method="A node vanished if it was dialled and did not answer; it moved if it was reached at another address." meta={changes.answer?.meta} loading={changes.loading} rows={shown.map((c) => ({ kind: c.kind, id: c.id, at: c.at && new Date(c.at).toISOString(), client: c.client, from: c.from, to: c.to, replaces: c.replaces }))} empty={changes.answer && !shown.length && `${kind ? `No node ${kindVerb(kind)}` : "Nothing changed"} in this time. Nodes found when the crawl began do not count as having appeared.`}>
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
                {shown.slice(0, listed).map((c) => (
                  <tr key={c.kind + c.id + c.at}>
                    <td title={time(c.at)}>{ago(c.at)}</td>
                    <td>{kindName(c.kind)}</td>
                    <td>
                      <a href={href("/node/" + c.id)}>
                        <Id id={c.id} />
                      </a>
                    </td>
                    <td>
                      <Client client={c.client} release={c.version} />
                    </td>
                    <td>
                      <What c={c} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
            {shown.length > listed && <p class="sub">The newest {listed} of {num(shown.length)}; the table and the CSV have more.</p>}
          </div>
        </Card>
      </div>
    </>
  );
}
