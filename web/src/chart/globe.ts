import { geoNaturalEarth1, geoPath } from "d3-geo";
import type { FeatureCollection } from "geojson";
import { feature, mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import worldURL from "world-atlas/countries-110m.json?url";

export const worldWidth = 1000;

/** The world, projected to a width of 1000. */
export interface World {
  height: number;
  land: Path2D;
  borders: Path2D;
  project(lon: number, lat: number): [number, number];
  invert(x: number, y: number): [number, number];
}

const antarctica = "010";
let world: Promise<World> | undefined;

export function loadWorld(): Promise<World> {
  world ??= build().catch((e) => {
    world = undefined;
    throw e;
  });
  return world;
}

async function build(): Promise<World> {
  const res = await fetch(worldURL);
  if (!res.ok) throw new Error("no map: " + res.status);
  const topology: Topology<{ countries: GeometryCollection }> = await res.json();
  const countries = topology.objects.countries;
  countries.geometries = countries.geometries.filter((g) => g.id !== antarctica);
  const land = feature(topology, countries) as FeatureCollection;
  const projection = geoNaturalEarth1().fitWidth(worldWidth, land);
  const path = geoPath(projection);
  const height = path.bounds(land)[1][1];
  return {
    height,
    land: new Path2D(path(land) ?? ""),
    borders: new Path2D(path(mesh(topology, countries, (a, b) => a !== b)) ?? ""),
    project: (lon, lat) => projection([lon, lat]) ?? [0, 0],
    invert: (x, y) => projection.invert?.([x, y]) ?? [0, 0],
  };
}

export interface Place {
  lon: number;
  lat: number;
  nodes: number;
  validators: number;
  /** The ends of the interval of validators; null where none is known. */
  low: number | null;
  high: number | null;
  name: string;
}

const sum = (a: number | null, b: number | null) => (a === null || b === null ? null : a + b);

/** Adds what is at a place. The sum of the ends of intervals is wider than the interval of the sum. */
export function addTo(total: { nodes: number; validators: number; low: number | null; high: number | null }, p: Place): void {
  total.nodes += p.nodes;
  total.validators += p.validators;
  total.low = sum(total.low, p.low);
  total.high = sum(total.high, p.high);
}

/** Places that are drawn as one circle; x and y are on the screen without the shift. */
export interface Cluster {
  x: number;
  y: number;
  value: number;
  nodes: number;
  validators: number;
  low: number | null;
  high: number | null;
  places: number;
  name: string; // of the largest place
  largest: number;
}

const cell = 9; // px within which places are one circle

/** Circles for places at a scale (px per unit of the projected world). */
export function cluster(at: Float64Array, places: Place[], by: "nodes" | "validators", scale: number): Cluster[] {
  const cells = new Map<number, Cluster>();
  places.forEach((p, i) => {
    const value = p[by];
    if (!(value > 0)) return;
    const x = at[2 * i] * scale;
    const y = at[2 * i + 1] * scale;
    const key = Math.floor(x / cell) * 1e6 + Math.floor(y / cell);
    const c = cells.get(key);
    if (!c) {
      cells.set(key, { x, y, value, nodes: p.nodes, validators: p.validators, low: p.low, high: p.high, places: 1, name: p.name, largest: value });
      return;
    }
    c.x = (c.x * c.value + x * value) / (c.value + value);
    c.y = (c.y * c.value + y * value) / (c.value + value);
    c.value += value;
    addTo(c, p);
    c.places++;
    if (value > c.largest) {
      c.largest = value;
      c.name = p.name;
    }
  });
  return [...cells.values()].sort((a, b) => b.value - a.value);
}
