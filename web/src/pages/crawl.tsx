import { useMemo } from "preact/hooks";
import { useAPI } from "../api";
import { isSite } from "../site";
import { Plot } from "../chart/plot";
import { ago, bytes, known, num } from "../format";
import { Term } from "../glossary";
import { Tile } from "../ui/bits";
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
          Not ready: {c.reason ?? "events are not stored"}
        </p>
      )}
      <dl class="tiles six">
        <Tile name="stored" label="Last commit" value={c.events.last_commit ? ago(c.events.last_commit) : "–"}>
          {c.events.last_commit ? "" : "none since the start, "}segment {num(c.events.last_segment)}
        </Tile>
        <Tile name="lag" label={<Term name="lag">Lag</Term>} value={num(c.events.lag)}>
          events wait to be stored
        </Tile>
        <Tile name="missing" label={<Term name="missing events">Missing events</Term>} value={num(missing)} tone={missing > 0 ? "warn" : undefined}>
          of {num(c.sentries.reduce((n, s) => n + (s.events ?? 0), 0))}
        </Tile>
        <Tile name="rejected" label="Rejected events" value={num(c.events.rejected)} tone={(c.events.rejected ?? 0) > 0 ? "warn" : undefined}>
          kept aside, see the log
        </Tile>
        <Tile name="datasets" label="Datasets" value={bytes(datasets.reduce((n, d) => n + d.bytes, 0))}>
          {num(datasets.reduce((n, d) => n + d.files, 0))} files
        </Tile>
        <Tile name="geo" label="Geolocation data" value={c.geo_date ?? "none"}>
          {c.geo_date ? "date of the data" : "places are not known"}
        </Tile>
      </dl>
      <div class="grid">
        <FunnelCard funnel={c.funnel} meta={meta} />
        <FailuresCard />
        <Card class="full" title="Sentries" method={<>Each <Term name="sentry" /> numbers its events, so that missing ones are noticed.</>} meta={meta} rows={c.sentries.map((s) => ({ ...s }))} empty={!c.sentries.length && "No event of a sentry yet."}>
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
        <Rates />
      </div>
    </>
  );
}
