import { useEffect, useMemo, useState } from "preact/hooks";
import { ask, Problem, url, useAPI } from "../api";
import type { Place } from "../chart/globe";
import { WorldMap, type View } from "../chart/map";
import { known, num } from "../format";
import { go, useRoute } from "../route";
import { Switch } from "../ui/bits";
import { Note } from "../ui/card";
import { Filters, filterNames, nodeParams } from "../ui/filters";
import { NothingYet } from "../ui/states";
import { byOptions, methods, places, smallPlaces, useBy } from "./overview";

interface Feature {
  geometry: { coordinates: [number, number] } | null;
  properties: { validators?: number | null; city?: string | null; country_code?: string | null };
}

/** The nodes that match, summed by place: nodes of a city have one coordinate. */
export function sumPlaces(features: Feature[]): Place[] {
  const sums = new Map<string, Place>();
  for (const f of features) {
    if (!f.geometry) continue;
    const [lon, lat] = f.geometry.coordinates;
    const key = lon + "/" + lat;
    const p = sums.get(key);
    const v = f.properties.validators ?? 0;
    if (p) {
      p.nodes++;
      p.validators += v;
    } else sums.set(key, { lon, lat, nodes: 1, validators: v, name: f.properties.city ?? f.properties.country_code ?? "Unknown" });
  }
  return [...sums.values()];
}

/** Places of the nodes that the filters leave; null filters ask for nothing. */
function useFiltered(filters: string | null): { places: Place[]; problem?: Problem } {
  const [state, set] = useState<{ places: Place[]; problem?: Problem }>({ places: [] });
  useEffect(() => {
    if (filters === null) return;
    let gone = false;
    ask(filters).then(
      (body) => gone || set({ places: sumPlaces((body as { features: Feature[] }).features) }),
      (problem) => gone || set({ places: [], problem: problem instanceof Problem ? problem : new Problem(0, "The answer was cut off.") }),
    );
    return () => void (gone = true);
  }, [filters]);
  return state;
}

function viewOf(text: string | null): View | undefined {
  const [lon, lat, zoom] = (text ?? "").split(",").map(Number);
  return [lon, lat, zoom].every(Number.isFinite) ? { lon, lat, zoom } : undefined;
}

export function MapPage() {
  const { params } = useRoute();
  const [by, setBy] = useBy();
  const filtered = filterNames.some((n) => params.has(n));
  const cities = useAPI("/api/v1/cities");
  const nodes = useFiltered(filtered ? url("/api/v1/nodes", { ...nodeParams(params), format: "geojson", fields: "id,validators,city,country_code" }) : null);
  const all = useMemo(() => places(cities.answer?.data), [cities.answer]);
  const shown = filtered ? nodes.places : all;
  const problem = filtered ? nodes.problem : cities.problem;
  const sum = shown.reduce((s, p) => ({ nodes: s.nodes + p.nodes, validators: s.validators + p.validators }), { nodes: 0, validators: 0 });
  const nothing = !filtered && !cities.answer && cities.problem;
  const view = useMemo(() => viewOf(params.get("at")), []);
  const moved = (v: View) => {
    const now = new URLSearchParams(location.hash.split("?")[1] ?? "");
    now.set("at", [v.lon.toFixed(2), v.lat.toFixed(2), v.zoom.toFixed(2)].join());
    go("/map", paramsOf(now), true);
  };
  if (nothing) return <NothingYet problem={nothing} />;
  return (
    <div class="mappage">
      <h1 class="hidden">Map</h1>
      <div class="bar">
        <Filters path="/map" />
        <Switch label="Circles show" value={by} options={byOptions} onChange={setBy} />
      </div>
      <WorldMap places={shown} by={by} view={view} onView={moved} label={`World map by ${by}. Arrow keys move it, plus and minus zoom, 0 shows the whole world.`} />
      <p class="sub under" role="status">
        {problem ? problem.message : `${num(sum.nodes)} nodes in ${num(shown.length)} places. ${methods.geo} ${smallPlaces(cities.answer)}`}
      </p>
      {cities.answer && !shown.length && <Note>{filtered ? "No node with a known place matches these filters." : "No place is known yet."}</Note>}
    </div>
  );
}

const paramsOf = (p: URLSearchParams) => {
  const out: Record<string, string[]> = {};
  for (const name of p.keys()) out[name] = p.getAll(name).filter(known);
  return out;
};
