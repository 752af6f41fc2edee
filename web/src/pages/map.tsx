import { useEffect, useMemo, useState } from "preact/hooks";
import { ask, Problem, url, useAPI, type Meta } from "../api";
import { addTo, type Place } from "../chart/globe";
import { WorldMap, type View } from "../chart/map";
import { num, range } from "../format";
import { Term } from "../glossary";
import { setParam, useRoute } from "../route";
import { Switch } from "../ui/bits";
import { Card } from "../ui/card";
import { Filters, filterNames, nodeParams } from "../ui/filters";
import { NothingYet } from "../ui/states";
import { byOptions, methods, places, smallPlaces, useBy } from "./overview";

interface Feature {
  geometry: { coordinates: [number, number] } | null;
  properties: { validators?: number | null; validators_low?: number | null; validators_high?: number | null; city?: string | null; country_code?: string | null };
}

/** The nodes that match, summed by place: nodes of a city have one coordinate. */
export function sumPlaces(features: Feature[]): Place[] {
  const sums = new Map<string, Place>();
  for (const { geometry, properties: n } of features) {
    if (!geometry) continue;
    const [lon, lat] = geometry.coordinates;
    const key = lon + "/" + lat;
    const one: Place = { lon, lat, nodes: 1, validators: n.validators ?? 0, low: n.validators_low ?? null, high: n.validators_high ?? null, name: n.city ?? n.country_code ?? "Unknown" };
    const p = sums.get(key);
    if (p) addTo(p, one);
    else sums.set(key, one);
  }
  return [...sums.values()];
}

/** Places of the nodes that the filters leave, asked for again with newer data; null filters ask for nothing. */
function useFiltered(filters: string | null, at: number | null | undefined): { places: Place[]; problem?: Problem; loading: boolean } {
  const [state, set] = useState<{ of?: string; places: Place[]; problem?: Problem }>({ places: [] });
  useEffect(() => {
    if (filters === null) return;
    let gone = false;
    ask(filters).then(
      (body) => gone || set({ of: filters, places: sumPlaces((body as { features: Feature[] }).features) }),
      (problem) => gone || set({ of: filters, places: [], problem: problem instanceof Problem ? problem : new Problem(0, "The response was cut off.") }),
    );
    return () => void (gone = true);
  }, [filters, at]);
  return { ...state, loading: filters !== null && state.of !== filters };
}

function viewOf(text: string | null): View | undefined {
  const [lon, lat, zoom] = (text ?? "").split(",").map(Number);
  return text && [lon, lat, zoom].every(Number.isFinite) ? { lon, lat, zoom } : undefined;
}

/** What the places have together, in words. */
function Sum({ list, meta, filtered }: { list: Place[]; meta?: Meta; filtered: boolean }) {
  const total = { nodes: 0, validators: 0, low: 0 as number | null, high: 0 as number | null };
  for (const p of list) addTo(total, p);
  return (
    <>
      {num(total.nodes)} nodes in {num(list.length)} locations, about {num(total.validators)} validators
      {total.low !== null && (
        <>
          {" "}
          (<Term name="90 % interval" />: at the widest {range(total.low, total.high)})
        </>
      )}
      {filtered ? "" : meta?.simulated ? ", all nodes with a known location" : ", all with a location that is shown"}
    </>
  );
}

export function MapPage() {
  const { params } = useRoute();
  const [by, setBy] = useBy();
  const filtered = filterNames.some((n) => params.has(n));
  const cities = useAPI("/api/v1/cities");
  const meta = cities.answer?.meta;
  const nodes = useFiltered(filtered ? url("/api/v1/nodes", { ...nodeParams(params), format: "geojson", fields: "id,validators,validators_low,validators_high,city,country_code" }) : null, meta?.as_of);
  const all = useMemo(() => places(cities.answer?.data), [cities.answer]);
  const shown = filtered ? nodes.places : all;
  const problem = filtered ? nodes.problem : cities.problem;
  const loading = filtered ? nodes.loading : cities.loading;
  const view = useMemo(() => viewOf(params.get("at")), []);
  if (!filtered && !cities.answer && cities.problem) return <NothingYet problem={cities.problem} />;
  return (
    <>
      <h1 class="hidden">Map</h1>
      <Card
        class="mappage"
        title={by === "nodes" ? "Where the nodes are" : "Where the validators are"}
        sub={<span role="status">{problem ? problem.message : loading ? "…" : shown.length ? <Sum list={shown} meta={meta} filtered={filtered} /> : filtered ? "No node with a known location matches these filters. Remove one of them." : "No locations are known: Crawl health shows whether there is geolocation data."}</span>}
        method={`${methods.geo} ${smallPlaces(cities.answer)}`}
        meta={meta}
        rows={shown.map((p) => ({ place: p.name, latitude: p.lat, longitude: p.lon, nodes: p.nodes, validators: p.validators, validators_low: p.low, validators_high: p.high }))}
        actions={
          <>
            <Filters path="/map" />
            <Switch label="Circles show" value={by} options={byOptions} onChange={setBy} />
          </>
        }
      >
        <WorldMap places={shown} by={by} view={view} onView={(v) => setParam("at", [v.lon, v.lat, v.zoom].map((x) => x.toFixed(2)).join())} label={`World map by ${by}. Arrow keys move it, plus and minus zoom, 0 shows the whole world; the table has the numbers.`} />
      </Card>
    </>
  );
}
