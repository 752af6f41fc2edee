import { useMemo } from "preact/hooks";
import { useAPI } from "../api";
import { isSite } from "../site";
import { Plot } from "../chart/plot";
import { ago, bytes, known, num, pct } from "../format";
import { Term } from "../glossary";
import { Chip, Tile } from "../ui/bits";
import { Card } from "../ui/card";
import { historyBegins, NothingYet } from "../ui/states";
import { FailuresCard, FunnelCard } from "./overview";

function Rates() {
  const from = useMemo(() => Math.floor(Date.now() / 3600e3) * 3600e3 - 7 * 86400e3, []);
  const t = useAPI("/api/v1/timeseries", { metric: ["records", "handshakes", "watches"], step: "1h", from });
  const points = useMemo(() => (t.answer?.data ?? []).filter((p) => known(p.time)), [t.answer]);
  // The first hour began before the crawl.
  const begun = points.find((p) => p.totals_at)?.totals_at ?? 0;
  const times = useMemo(() => points.map((p, i) => (i === 0 && begun < p.time! + 3600e3 ? Math.max(p.time!, begun) : p.time!)), [points]);
  const series = useMemo(
    () => [
      { name: "records", colour: "--quiet", values: points.map((p) => p.records ?? null) },
      { name: "handshakes", colour: "--accent", values: points.map((p) => p.handshakes ?? null) },
      { name: "watches", colour: "--validators", values: points.map((p) => p.watches ?? null) },
    ],
    [points],
  );
  return (
    <Card class="full" title="Crawl over time" sub="events per hour, last 7 d" method="Records found, handshakes completed, parts of watches stored." meta={t.answer?.meta} problem={t.problem} loading={t.loading} rows={points.map((p) => ({ time: new Date(p.time!).toISOString(), records: p.records, handshakes: p.handshakes, watches: p.watches }))} empty={t.answer && times.length < 2 && historyBegins}>
      <Plot times={times} series={series} label="Events per hour; the table has the numbers" height={180} />
    </Card>
  );
}

/** Milliseconds more, or less: +12 ms. */
const more = (ms: number) => `${ms > 0 ? "+" : ms < 0 ? "−" : ""}${num(Math.abs(ms))} ms`;

/** What each sentry sees, beside the others: one alone has nothing to be compared with but the broker's clock. */
function SentriesCompared() {
  const { answer, problem, loading } = useAPI("/api/v1/sentries");
  const list = answer?.data.sentries ?? [];
  const n = answer?.data.nodes;
  const faults = list.flatMap((s) => s.faults.map((f) => ({ sentry: s.id, ...f })));
  return (
    <Card
      class="full"
      title="Sentries compared"
      sub={n && (list.length > 1 ? `nodes of the last day: ${num(n.by_all)} reached by all sentries that tried, ${num(n.by_some)} by some, ${num(n.by_one)} by the only one that tried, ${num(n.by_none)} by none` : "the last day")}
      method={<>For the day before the newest event, by peer id. Alone: reached by no other sentry. Missed: tried, but reached only by others. Share: reached, of the nodes that it tried and others reached. Handshake: the median, and in brackets how much longer it took than others' with the same nodes.{n && n.sentries > 0 ? ` Left out: ${num(n.sentries)} peer ids of Valtrack sentries, which are not beacon nodes.` : ""}</>}
      meta={answer?.meta}
      problem={problem}
      loading={loading}
      rows={list.map((s) => ({ ...s, faults: s.faults.map((f) => f.text).join("; ") }))}
      empty={answer && !list.length && "No event of a sentry yet."}
    >
      {faults.length > 0 && (
        <ul class="plain">
          {faults.map((f) => (
            <li key={f.sentry + f.fault}>
              <Chip>{f.fault.replaceAll("_", " ")}</Chip> {f.sentry}: {f.text}
            </li>
          ))}
        </ul>
      )}
      <div class="scroll" tabIndex={0} role="region" aria-label="Table: Sentries compared">
        <table>
          <thead>
            <tr>
              <th scope="col">Sentry</th>
              <th scope="col">Location</th>
              <th scope="col">Version</th>
              {["Last event", "Clock", "Tried", "Reached", "Watched", "Alone", "Missed", "Share", "Handshake"].map((name) => (
                <th key={name} scope="col" class="n">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {list.map((s) => (
              <tr key={s.id}>
                <td>{s.id}</td>
                <td>{s.location ?? "–"}</td>
                <td>{s.version ?? "–"}</td>
                <td class="n">{ago(s.last_event)}</td>
                <td class="n">{known(s.clock_skew_ms) ? more(s.clock_skew_ms) : "–"}</td>
                <td class="n">{num(s.tried)}</td>
                <td class="n">{num(s.reached)}</td>
                <td class="n">{num(s.watched)}</td>
                <td class="n">{num(s.alone)}</td>
                <td class="n">{num(s.missed)}</td>
                <td class="n">{pct(s.reached_share)}</td>
                <td class="n">
                  {known(s.handshake_ms) ? `${num(s.handshake_ms)} ms` : "–"}
                  {known(s.handshake_difference_ms) && ` (${more(s.handshake_difference_ms)})`}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

/** What a static copy has of the crawl: how storing goes is on the server only. */
function CopiedCrawl() {
  const summary = useAPI("/api/v1/summary");
  if (!summary.answer) return summary.loading ? <div class="grid" role="status" aria-label="Loading" /> : <NothingYet problem={summary.problem} />;
  return (
    <div class="grid">
      <FunnelCard funnel={summary.answer.data.funnel} meta={summary.answer.meta} />
      <FailuresCard />
      <Rates />
    </div>
  );
}

export const CrawlPage = isSite ? CopiedCrawl : LiveCrawl;

function LiveCrawl() {
  const crawl = useAPI("/api/v1/crawl");
  const datasets = useAPI("/api/v1/datasets").answer?.data ?? [];
  if (!crawl.answer) return crawl.loading ? <div class="grid" role="status" aria-label="Loading" /> : <NothingYet problem={crawl.problem} />;
  const { data: c, meta } = crawl.answer;
  const missing = c.sentries.reduce((n, s) => n + (s.missing_events ?? 0), 0);
  return (
    <>
      {!c.ready && (
        <p class="banner bad" role="alert">
          Not ready: {c.reason ?? "events are not being stored"}
        </p>
      )}
      <dl class="tiles six">
        <Tile name="stored" label="Last commit" value={c.events.last_commit ? ago(c.events.last_commit) : "–"}>
          {c.events.last_commit ? "" : "none since the start, "}segment {num(c.events.last_segment)}
        </Tile>
        <Tile name="lag" label={<Term name="lag">Lag</Term>} value={num(c.events.lag)}>
          events waiting to be stored
        </Tile>
        <Tile name="missing" label={<Term name="missing events">Missing events</Term>} value={num(missing)} tone={missing > 0 ? "warn" : undefined}>
          of {num(c.sentries.reduce((n, s) => n + (s.events ?? 0), 0))}
        </Tile>
        <Tile name="rejected" label="Rejected events" value={num(c.events.rejected)} tone={(c.events.rejected ?? 0) > 0 ? "warn" : undefined}>
          quarantined, see the log
        </Tile>
        <Tile name="datasets" label="Datasets" value={bytes(datasets.reduce((n, d) => n + d.bytes, 0))}>
          {num(datasets.reduce((n, d) => n + d.files, 0))} files
        </Tile>
        <Tile name="geo" label="Geolocation data" value={c.geo_date ?? "none"}>
          {c.geo_date ? "date of the data" : "locations are not known"}
        </Tile>
      </dl>
      <div class="grid">
        <FunnelCard funnel={c.funnel} meta={meta} />
        <FailuresCard />
        <Card class="full" title="Sentries" method={<>Each <Term name="sentry" /> numbers its events, so that missing ones are detected.</>} meta={meta} rows={c.sentries.map((s) => ({ ...s }))} empty={!c.sentries.length && "No event of a sentry yet."}>
          <div class="scroll" tabIndex={0} role="region" aria-label="Table: Sentries">
            <table>
              <thead>
                <tr>
                  <th scope="col">Sentry</th>
                  <th scope="col">Location</th>
                  <th scope="col" class="n">
                    Last event
                  </th>
                  <th scope="col" class="n">
                    Events
                  </th>
                  <th scope="col" class="n">
                    Missing
                  </th>
                </tr>
              </thead>
              <tbody>
                {c.sentries.map((s) => (
                  <tr key={s.id}>
                    <td>{s.id}</td>
                    <td>{s.location ?? "–"}</td>
                    <td class="n">{ago(s.last_event)}</td>
                    <td class="n">{num(s.events)}</td>
                    <td class="n">{num(s.missing_events)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </Card>
        <SentriesCompared />
        <Rates />
      </div>
    </>
  );
}
