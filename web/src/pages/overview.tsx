import { useMemo } from "preact/hooks";
import { useAPI, useStep, type Funnel, type Group, type Meta, type Point, type Summary } from "../api";
import { FunnelChart, Heat, Histogram } from "../chart/small";
import type { Place } from "../chart/globe";
import { WorldMap } from "../chart/map";
import { Plot, type Series } from "../chart/plot";
import { capital, clientColour, compact, duration, groupName, known, num, pct, range, releaseName, pointTimes } from "../format";
import { Term } from "../glossary";
import { href, setParam, useRoute } from "../route";
import { Bars, Chip, Dot, Stack, Switch, Tile } from "../ui/bits";
import { Card } from "../ui/card";
import { historyBegins, NothingYet } from "../ui/states";
import { Search } from "./nodes";

export const methods = {
  counted: "Nodes that were met in the last day, by a handshake or in a watch, one per IP address and port.",
  validators: "Estimated from the attestation subnets that nodes join for duties, custody groups and sync committees; whiskers are 90 % intervals.",
  geo: "Location of the node's address in the geolocation data, not of its operator.",
};

/** A share of the validators with its interval: 79.5 % (70 to 85 %). */
export function validatorShare({ share_validators: share, share_validators_low: low, share_validators_high: high }: Group): string {
  if (!known(low) || !known(high)) return pct(share);
  const digits = high < 0.1 ? 1 : 0;
  return `${pct(share)} (${(low * 100).toFixed(digits)} to ${(high * 100).toFixed(digits)}\u00a0%)`;
}

const named = (g: Group) => g.name !== null && g.name !== "other";

/** The group with the most nodes among those that have a name. */
const largest = (groups: Group[] | undefined, by: "nodes" | "validators") => groups?.filter(named).reduce<Group | undefined>((a, g) => (!a || (g[by] ?? 0) > (a[by] ?? 0) ? g : a), undefined);

/** Validators that silent nodes may have beyond the interval, where they would change the picture. */
const hidden = ({ validators: v }: Summary): number => ((v.hidden_validators ?? 0) > 0.01 * (v.attachments ?? 0) ? v.hidden_validators! : 0);

function Headline({ s, meta }: { s: Summary; meta: Meta }) {
  const v = s.validators;
  const client = largest(s.clients, "nodes");
  const cloud = largest(s.clouds, "nodes");
  return (
    <p class="headline">
      <b>{num(s.nodes.counted)}</b> reachable nodes of {meta.network} run about <b>{known(v.attachments) ? num(v.attachments) : "an unknown number of"}</b> <Term name="attachments">validators</Term>
      {known(v.attachments_low) && (
        <>
          {" "}
          (90{"\u00a0"}% sure: {range(v.attachments_low, v.attachments_high)}
          {hidden(s) > 0 && (
            <>
              , and up to {num(hidden(s))} <Term name="hidden validators">hidden</Term>
            </>
          )}
          )
        </>
      )}
      {client && (
        <>
          . Largest client: <b>{groupName(client.name)}</b>, {pct(client.share_nodes)} of nodes
        </>
      )}
      {cloud && (
        <>
          . Largest cloud: <b>{groupName(cloud.name)}</b>, {pct(cloud.share_nodes)} of nodes
        </>
      )}
      .
    </p>
  );
}

function Tiles({ s, meta, trend }: { s: Summary; meta: Meta; trend: Point[] }) {
  const v = s.validators;
  const client = largest(s.clients, "nodes");
  const cloud = largest(s.clouds, "nodes");
  const hosted = s.hosting.find((g) => g.name === "hosting");
  const before = trend.find((p) => known(p.nodes) && p.time! < Date.now() - 6 * 86400e3)?.nodes;
  const change = before ? s.nodes.counted / before - 1 : null;
  const country = s.countries.most_nodes;
  const network = s.networks.most_nodes;
  const share = client?.share_nodes ?? 0;
  return (
    <dl class="tiles">
      <Tile name="nodes" label={<Term name="reachable node">Reachable nodes</Term>} value={num(s.nodes.counted)}>
        {known(change) ? `${change >= 0 ? "▲" : "▼"} ${pct(Math.abs(change))} in a week` : `of ${num(s.nodes.known)} known`}
      </Tile>
      <Tile name="validators" label={<Term name="attachments">Validators (estimate)</Term>} value={num(v.attachments)}>
        {known(v.attachments_low) ? `90 %: ${range(v.attachments_low, v.attachments_high)}` : "no estimate yet"}
      </Tile>
      <Tile name="client" label={<Term name="33, 50 and 66 % lines">Largest client</Term>} value={client ? groupName(client.name) : "–"} tone={share > 1 / 3 ? "warn" : undefined}>
        {client ? `${pct(share)} of nodes, ${share > 2 / 3 ? "above the 66 % line" : share > 1 / 2 ? "above the 50 % line" : share > 1 / 3 ? "above the 33 % line" : "below the 33 % line"}` : "no client known"}
      </Tile>
      <Tile name="cloud" label="Largest cloud" value={cloud ? groupName(cloud.name) : "–"}>
        {cloud ? `${pct(cloud.share_nodes)} of nodes, ${validatorShare(cloud)} of validators` : "no cloud known"}
      </Tile>
      <Tile name="hosted" label="In data centres" value={hosted ? pct(hosted.share_nodes) : "–"}>
        {hosted ? `of nodes, ${validatorShare(hosted)} of validators` : "networks not known"}
      </Tile>
      <Tile name="countries" label="Countries" value={s.countries.known ? num(s.countries.known) : "–"}>
        {country ? `most: ${country.name}, ${pct(country.share_nodes)}` : "locations not known"}
      </Tile>
      <Tile name="networks" label={<Term name="network (AS)">Networks (AS)</Term>} value={s.networks.known ? num(s.networks.known) : "–"}>
        {network ? `most: ${network.name}, ${pct(network.share_nodes)}` : "networks not known"}
      </Tile>
      <Tile name="age" label="Age of the data" value={known(meta.as_of) ? duration(Date.now() - meta.as_of!) : "–"}>
        nodes reached in the last {duration(meta.covers_ms)}
      </Tile>
    </dl>
  );
}

export const groupRows = (groups: Group[]) =>
  groups.map((g) => ({
    name: g.name ?? "unknown",
    code: g.code ?? null,
    nodes: g.nodes,
    share_nodes: g.share_nodes,
    validators: g.validators,
    validators_low: g.validators_low,
    validators_high: g.validators_high,
    share_validators: g.share_validators,
    share_validators_low: g.share_validators_low ?? null,
    share_validators_high: g.share_validators_high ?? null,
  }));

/** Groups as bars of nodes or of validators. */
export function GroupBars({ groups, by, label, colour, limit = 13, lines, parts }: { groups: Group[]; by: "nodes" | "validators"; label: (g: Group) => preact.ComponentChildren; colour?: (g: Group) => string; limit?: number; lines?: number[]; parts?: (g: Group) => { name: string; value: number }[] }) {
  const all = [...groups].sort((a, b) => (b[by] ?? 0) - (a[by] ?? 0));
  const sorted = all.slice(0, limit);
  const more = all.slice(limit).filter(named).length;
  const bars = (
    <Bars
      lines={lines}
      max={lines && Math.max(lines.at(-1)! * 1.05, ...sorted.map((g) => (by === "validators" ? g.validators_high : g.nodes) ?? 0))}
      bars={sorted.map((g) => ({
        key: `${g.by}/${g.name}/${g.code}`,
        label: label(g),
        value: g[by] ?? 0,
        text: by === "nodes" ? `${num(g.nodes)} · ${pct(g.share_nodes)}` : known(g.validators) ? `${num(g.validators)} (${range(g.validators_low, g.validators_high)}) · ${pct(g.share_validators)}` : "unknown",
        colour: colour?.(g) ?? (by === "validators" ? "var(--validators)" : undefined),
        low: by === "validators" ? g.validators_low : null,
        high: by === "validators" ? g.validators_high : null,
        parts: by === "nodes" ? parts?.(g) : undefined,
      }))}
    />
  );
  return (
    <>
      {bars}
      {more > 0 && <p class="sub">and {num(more)} more in the table</p>}
    </>
  );
}

export const byOptions = [
  ["nodes", "Nodes"],
  ["validators", "Validators"],
] as const;

/** What a picture counts, in the address under a name. */
export function useBy(name = "by"): ["nodes" | "validators", (v: "nodes" | "validators") => void] {
  const { params } = useRoute();
  const by = params.get(name) === "validators" ? "validators" : "nodes";
  return [by, (v) => setParam(name, v === "nodes" ? "" : v)];
}

export const countryLabel = (g: Group) => (
  <>
    <Chip>{g.code ?? "··"}</Chip> {g.name ? <a href={href("/nodes", { country: g.code ?? g.name })}>{g.name}</a> : "Unknown"}
  </>
);

export const clientLabel = (g: Group) => (
  <>
    <Dot colour={clientColour(g.name)} /> {g.name ? <a href={href("/nodes", { client: g.name })}>{groupName(g.name)}</a> : "Unknown"}
  </>
);

export const places = (cities: Group[] | undefined): Place[] =>
  (cities ?? []).filter((g) => known(g.latitude) && known(g.longitude)).map((g) => ({ lon: g.longitude!, lat: g.latitude!, nodes: g.nodes, validators: g.validators ?? 0, low: g.validators_low ?? null, high: g.validators_high ?? null, name: g.name ?? "Unknown" }));

/** What is said of cities with fewer than five nodes: nobody lives in those of a simulated network. */
export function smallPlaces(cities?: { data: Group[]; meta: Meta }): string {
  if (cities?.meta.simulated) return "Small cities are shown because the network is simulated: on a real one, cities with fewer than five nodes are left out.";
  return cities?.data.some((g) => g.name === "other") ? "Cities with fewer than five nodes are left out." : "";
}

function MapCard() {
  const [by, setBy] = useBy();
  const cities = useAPI("/api/v1/cities");
  const shown = useMemo(() => places(cities.answer?.data), [cities.answer]);
  const hidden = (cities.answer?.data ?? []).filter((g) => !known(g.latitude)).reduce((n, g) => n + g.nodes, 0);
  return (
    <Card
      class="wide"
      title={by === "nodes" ? "Where the nodes are" : "Where the validators are"}
      sub={`${num(shown.length)} cities · circle area: ${by}${hidden ? ` · ${num(hidden)} nodes not on the map` : ""}`}
      method={
        <>
          {methods.geo} {smallPlaces(cities.answer)} <a href={href("/map", { by: by === "nodes" ? "" : by })}>Larger map</a>.
        </>
      }
      meta={cities.answer?.meta}
      rows={groupRows(cities.answer?.data ?? [])}
      problem={cities.problem}
      loading={cities.loading}
      empty={cities.answer && shown.length === 0 && "No locations are known: either there is no geolocation data (see Crawl health), or no city has five nodes yet."}
      actions={<Switch label="Circles show" value={by} options={byOptions} onChange={setBy} />}
    >
      <WorldMap places={shown} by={by} label={`World map of ${num(shown.length)} cities by ${by}; the table has the numbers`} />
    </Card>
  );
}

export function clientSeries(points: Point[]): { times: number[]; series: Series[] } {
  const with_ = points.filter((p) => p.clients && known(p.time));
  const totals: Record<string, number> = {};
  for (const p of with_) for (const [c, n] of Object.entries(p.clients!)) totals[c] = (totals[c] ?? 0) + n;
  const names = Object.keys(totals).sort((a, b) => totals[b] - totals[a]);
  return { times: pointTimes(with_), series: names.map((c) => ({ name: groupName(c || null), colour: clientColour(c).slice(4, -1), values: with_.map((p) => p.clients![c] ?? 0) })) };
}

export function ClientTrend({ span }: { span: number }) {
  const from = useMemo(() => Math.floor(Date.now() / 3600e3) * 3600e3 - span, [span]);
  const t = useAPI("/api/v1/timeseries", { metric: "clients", step: useStep(span), from });
  const { times, series } = useMemo(() => clientSeries(t.answer?.data ?? []), [t.answer]);
  return (
    <Card
      class="two"
      title="Nodes by client over time"
      sub={`stacked, last ${duration(span)}`}
      method={methods.counted}
      meta={t.answer?.meta}
      problem={t.problem}
      loading={t.loading}
      empty={t.answer && times.length < 2 && historyBegins}
      rows={times.map((at, i) => ({ time: new Date(at).toISOString(), ...Object.fromEntries(series.map((s) => [s.name, s.values[i]])) }))}
    >
      <Plot times={times} series={series} stacked label="Nodes by client over time; the table has the numbers" />
    </Card>
  );
}

export function SubnetsCard({ wide }: { wide?: boolean }) {
  const subnets = useAPI("/api/v1/subnets");
  const list = subnets.answer?.data.subnets ?? [];
  const values = list.map((s) => s.long_lived);
  return (
    <Card
      class={wide ? "half" : ""}
      title="Attestation subnets"
      sub={
        <>
          nodes with a <Term name="long-lived subnet">long-lived subscription</Term>, per subnet{values.length > 0 && `: ${num(Math.min(...values))} (faintest) to ${num(Math.max(...values))} (strongest)`}
        </>
      }
      method={<>According to the nodes' <Term name="MetaData" />; a node keeps two, or all 64.</>}
      meta={subnets.answer?.meta}
      problem={subnets.problem}
      loading={subnets.loading}
      empty={subnets.answer && !values.length && "No MetaData yet."}
      rows={list.map((s) => ({ subnet: s.subnet, long_lived: s.long_lived }))}
    >
      <Heat values={values} label="Long-lived subscribers of the 64 attestation subnets" detail={(i) => `subnet ${list[i].subnet}: ${num(list[i].long_lived)} nodes keep it`} />
    </Card>
  );
}

const funnelSteps = (f: Funnel) => [
  { name: "Records found", term: "ENR", value: f.records },
  { name: "Right fork digest", term: "fork digest", value: f.right_digest },
  { name: "Dialled", value: f.dialled },
  { name: "Connected", value: f.connected },
  { name: "Status exchanged", term: "Status", value: f.status },
  { name: "MetaData", term: "MetaData", value: f.metadata },
  { name: "Run validators", value: f.with_validators, text: known(f.with_validators) ? "≈ " + num(f.with_validators) : "–" },
];

export function FunnelCard({ funnel, meta }: { funnel: Funnel; meta: Meta }) {
  const steps = funnelSteps(funnel);
  return (
    <Card class="half" title="Crawl" sub="how far the crawl gets with the nodes it finds" method="Each node once, by the furthest step it ever reached. Nodes that are not reached are behind a firewall, have no free connections, are gone, or belong to another network. The number that run validators is estimated." meta={meta} rows={steps.map((x) => ({ step: x.name, nodes: x.value }))}>
      <FunnelChart steps={steps} />
    </Card>
  );
}

const outcomes: Record<string, string> = {
  ok: "Handshake completed",
  dial_timeout: "Dial timed out",
  refused: "Connection refused",
  unreachable: "Unreachable",
  negotiation: "No common protocol",
  status: "No valid Status",
  wrong_network: "Wrong network",
  metadata: "No valid MetaData",
  goodbye: "Goodbye (often: too many peers)",
  reset: "Connection reset",
  protocol: "Protocol error",
  canceled: "Ended by us",
};
export const outcomeName = (o: string) => outcomes[o] ?? capital(o.replaceAll("_", " "));

export function FailuresCard() {
  const errors = useAPI("/api/v1/errors");
  const failed = (errors.answer?.data ?? []).filter((o) => o.outcome !== "ok" && o.outcome !== "canceled");
  const sum = failed.reduce((n, o) => n + o.visits, 0);
  const all = (errors.answer?.data ?? []).reduce((n, o) => n + o.visits, 0);
  return (
    <Card
      class="half"
      title="Why visits fail"
      sub={`${num(sum)} of ${num(all)} visits to known nodes`}
      method="By the first error; visits that we ended are not failures. Most failures are nodes that accept no more peers or are behind a firewall."
      meta={errors.answer?.meta}
      problem={errors.problem}
      loading={errors.loading}
      empty={errors.answer && !failed.length && "No visit has failed."}
      rows={(errors.answer?.data ?? []).map((o) => ({ outcome: o.outcome, visits: o.visits, nodes: o.nodes }))}
    >
      <Bars bars={failed.slice(0, 8).map((o) => ({ key: o.outcome, label: outcomeName(o.outcome), value: o.visits, text: `${num(o.visits)} · ${pct(o.visits / sum)}`, colour: "var(--warn)" }))} />
    </Card>
  );
}

const hostingColours: Record<string, string> = { hosting: "var(--accent)", isp: "var(--c-prysm)", business: "var(--c-teku)", education: "var(--c-nimbus)" };

export function HostingCard({ s, meta }: { s: Summary; meta: Meta }) {
  const nothing = !s.hosting.some((g) => g.name !== null && g.name !== "unknown");
  const parts = (by: "nodes" | "validators") => s.hosting.map((g) => ({ name: groupName(g.name), value: g[by] ?? 0, colour: hostingColours[g.name ?? ""] ?? "var(--quiet)" }));
  const clouds = (s.clouds ?? []).filter((g) => g.name);
  return (
    <Card title="Hosting" sub="type of network: nodes and validators" method="By the network of the node's address, from a table of known networks and their names." meta={meta} rows={groupRows([...s.hosting, ...clouds])} empty={nothing && "No networks are known: there is no data about networks (AS) yet."}>
      <div class="stacks">
        <span>nodes</span>
        <Stack label="Nodes by hosting" parts={parts("nodes")} />
        <span>validators</span>
        <Stack label="Validators by hosting" parts={parts("validators")} />
      </div>
      <ul class="legend">
        {s.hosting.map((g) => (
          <li key={g.name}>
            <Dot colour={hostingColours[g.name ?? ""] ?? "var(--quiet)"} /> {groupName(g.name)} {pct(g.share_nodes)} <span class="sub">of nodes, {validatorShare(g)} of validators</span>
          </li>
        ))}
      </ul>
      <GroupBars groups={clouds} by="nodes" limit={5} label={(g) => <a href={href("/nodes", { cloud: g.name })}>{groupName(g.name)}</a>} />
    </Card>
  );
}

export function HistogramCard({ s, meta }: { s: Summary; meta: Meta }) {
  const list = s.validators.histogram ?? [];
  // The last column has no end.
  const columns = list.map((b) => ({ label: b.high === b.low ? num(b.low) : !known(b.high) || b.high < b.low ? compact(b.low) + "+" : `${compact(b.low)}–${compact(b.high)}`, value: b.nodes, muted: b.low === 0 }));
  return (
    <Card title="Validators per node" sub="nodes by the median of their estimate" method="Each node once, by its median; the intervals of individual nodes extend into other columns." class="tall" meta={meta} rows={list.map((b) => ({ validators_from: b.low, validators_to: b.high, nodes: b.nodes, validators: b.validators }))} empty={!list.length && "No estimate yet."}>
      <Histogram columns={columns} label="Nodes by number of validators" />
    </Card>
  );
}

function ClientsCard({ s, meta }: { s: Summary; meta: Meta }) {
  const all = useAPI("/api/v1/clients").answer?.data ?? [];
  const [by, setBy] = useBy("clients");
  const releases = (g: Group) =>
    all
      .filter((r) => r.by === "release" && r.code === g.name)
      .sort((a, b) => b.nodes - a.nodes)
      .slice(0, 4)
      .map((r) => ({ name: releaseName(r.name), value: r.nodes }));
  return (
    <Card title="Consensus clients" sub="darker to lighter: releases, most used first" method={<>By the <Term name="agent" /> that nodes send in identify.</>} meta={meta} rows={groupRows(s.clients)} empty={!s.clients.length && "No client known yet."} actions={<Switch label="Clients by" value={by} options={byOptions} onChange={setBy} />}>
      <Stack label="Clients" parts={s.clients.map((g) => ({ name: groupName(g.name), value: g[by] ?? 0, colour: clientColour(g.name) }))} />
      <GroupBars groups={s.clients} by={by} label={clientLabel} colour={(g) => clientColour(g.name)} parts={releases} />
    </Card>
  );
}

function CountriesCard({ s, meta }: { s: Summary; meta: Meta }) {
  const [by] = useBy();
  const countries = useAPI("/api/v1/countries").answer?.data ?? s.countries.top;
  return (
    <Card class="side" title="Countries" sub={"share of " + by} method={by === "validators" ? methods.validators : methods.geo} meta={meta} rows={groupRows(countries)} empty={!countries.some((g) => g.name) && "No locations are known."}>
      <GroupBars groups={countries} by={by} label={countryLabel} />
    </Card>
  );
}

export function Overview() {
  const summary = useAPI("/api/v1/summary");
  const from = useMemo(() => Math.floor(Date.now() / 3600e3) * 3600e3 - 7 * 86400e3, []);
  const trend = useAPI("/api/v1/timeseries", { metric: "nodes", step: "6h", from }).answer?.data ?? [];
  if (summary.loading) return <div class="grid" role="status" aria-label="Loading" />;
  if (!summary.answer) return <NothingYet problem={summary.problem} />;
  const { data: s, meta } = summary.answer;
  if (s.nodes.counted === 0) return <NothingYet />;
  return (
    <>
      <div class="intro">
        <Headline s={s} meta={meta} />
        <Search />
      </div>
      <Tiles s={s} meta={meta} trend={trend} />
      <div class="grid">
        <MapCard />
        <CountriesCard s={s} meta={meta} />
        <ClientsCard s={s} meta={meta} />
        <HostingCard s={s} meta={meta} />
        <HistogramCard s={s} meta={meta} />
        <ClientTrend span={30 * 86400e3} />
        <SubnetsCard />
        <FunnelCard funnel={s.funnel} meta={meta} />
        <FailuresCard />
      </div>
    </>
  );
}
