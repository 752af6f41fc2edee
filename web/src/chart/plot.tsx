import { useEffect, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { compact, known, num, time } from "../format";
import { setParam, useRoute } from "../route";
import { colour, useTheme } from "../theme";

export interface Series {
  name: string;
  /** A colour variable, such as --accent. */
  colour: string;
  values: (number | null)[];
  /** The ends of an interval around the line. */
  low?: (number | null)[];
  high?: (number | null)[];
}

interface Props {
  /** Unix milliseconds. */
  times: number[];
  series: Series[];
  stacked?: boolean;
  label: string;
  height?: number;
}

function sums(series: Series[]): (number | null)[][] {
  const out: (number | null)[][] = [];
  series.forEach((s, i) => out.push(s.values.map((v, j) => (i === 0 ? v : (out[i - 1][j] ?? 0) + (v ?? 0)))));
  return out;
}

function fade(c: string, alpha: number): string {
  return `color-mix(in srgb, ${c} ${alpha * 100}%, transparent)`;
}

/** What uPlot is given: data, series and bands. The legend is of what is shown when it is read. */
function build(p: Props, shown: { current: Props }): { data: uPlot.AlignedData; series: uPlot.Series[]; bands: uPlot.Band[] } {
  const data: (number | null)[][] = [p.times.map((t) => t / 1000)];
  const series: uPlot.Series[] = [{ value: (_, v) => (v === null ? "" : new Date(v * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC") }];
  const bands: uPlot.Band[] = [];
  if (p.stacked) {
    const total = sums(p.series);
    // From the top, so that each covers what is above the next.
    for (let i = p.series.length - 1; i >= 0; i--) {
      const c = colour(p.series[i].colour);
      const at = data.push(total[i]) - 1;
      series.push({ label: p.series[i].name, stroke: c, width: 1, fill: fade(c, 0.85), points: { show: false }, value: (_u, _v, _s, idx) => num(idx === null ? null : shown.current.series[i]?.values[idx]) });
      if (i > 0) bands.push({ series: [at, at + 1], fill: fade(c, 0.85) });
    }
    return { data: data as uPlot.AlignedData, series, bands };
  }
  for (const s of p.series) {
    const c = colour(s.colour);
    if (s.low && s.high) {
      const at = data.push(s.high, s.low) - 2;
      const end = { stroke: "transparent", points: { show: false }, value: (_: uPlot, v: number | null) => num(v) };
      series.push({ ...end, label: "90 % interval, upper end" }, { ...end, label: "lower end" });
      bands.push({ series: [at, at + 1], fill: fade(c, 0.22) });
    }
    data.push(s.values);
    series.push({ label: s.name, stroke: c, width: 2, points: { show: p.times.length < 40, size: 5 }, value: (_, v) => num(v) });
  }
  return { data: data as uPlot.AlignedData, series, bands };
}

/** 14:00, or at another day than the tick before 31 Oct. */
function tick(s: number, before: number | undefined): string {
  const at = new Date(s * 1000).toUTCString(); // Sat, 31 Oct 2026 14:00:00 GMT
  const day = at.slice(5, 11);
  const clock = at.slice(17, 22);
  if (before !== undefined && new Date(before * 1000).toUTCString().slice(5, 11) === day) return clock;
  return clock === "00:00" ? day : `${clock}\n${day}`;
}

// Seconds between ticks: labels have minutes.
const steps = [60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, ...[1, 2, 4, 7, 14, 30, 90].map((days) => days * 86400)];

/** The times that all plots of the page show, in Unix milliseconds; null for all that they have. */
function zoomOf(text: string | null): [number, number] | null {
  const [from, to] = (text ?? "").split("-").map(Number);
  return from > 0 && to > from ? [from, to] : null;
}

/** Puts the values of the last point that is shown into the legend. */
function newest(u: uPlot, end = (u.scales.x.max ?? Infinity) * 1000): void {
  u.setLegend({ idx: u.data[0].findLastIndex((t) => t * 1000 <= end) }, false);
}

/** A plot over time: lines with intervals, or a stack. Dragging zooms, which is in the address; double click shows all. */
export function Plot(p: Props) {
  const text = useRoute().params.get("zoom");
  const zoom = useMemo(() => zoomOf(text), [text]);
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const theme = useTheme();
  const shape = p.series.map((s) => s.name + s.colour).join() + p.stacked + theme;
  const latest = useRef(p);
  latest.current = p;

  useEffect(() => {
    const { data, series, bands } = build(latest.current, latest);
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const height = p.height ?? 220;
    const u = new uPlot(
      {
        width: host.current!.clientWidth,
        height,
        series,
        bands,
        tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "UTC"),
        legend: { live: true },
        cursor: { drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => () => (setParam("zoom", ""), null) } },
        scales: { x: { time: true }, y: { range: (_u, _low, high) => [0, high > 0 ? high * 1.06 : 1] } },
        axes: [{ ...axis, size: 38, space: 60, incrs: steps, values: (_u, at) => at.map((s, i) => tick(s, at[i - 1])) }, { ...axis, size: 56, values: (_, ticks) => ticks.map((v) => compact(v)) }],
        hooks: {
          setSelect: [
            (u) => {
              if (u.select.width < 8) return;
              const at = (px: number) => Math.round(u.posToVal(px, "x") * 1000);
              setParam("zoom", at(u.select.left) + "-" + at(u.select.left + u.select.width));
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            },
          ],
          // Without a pointer the legend has the newest values that are shown.
          setLegend: [(u) => known(u.legend.idx) || newest(u)],
        },
      },
      data,
      host.current!,
    );
    chart.current = u;
    const observer = new ResizeObserver(() => host.current && u.setSize({ width: host.current.clientWidth, height }));
    observer.observe(host.current!);
    return () => {
      observer.disconnect();
      u.destroy();
      chart.current = null;
    };
  }, [shape]);

  useEffect(() => {
    const u = chart.current;
    if (!u) return;
    u.setData(build(p, latest).data, !zoom);
    if (zoom) u.setScale("x", { min: zoom[0] / 1000, max: zoom[1] / 1000 });
    if (!known(u.cursor.idx)) newest(u, zoom?.[1]);
  }, [p.times, p.series, zoom, shape]);

  return (
    <>
      <div class="plot" ref={host} role="img" aria-label={p.label} />
      {zoom && (
        <p class="sub">
          {time(zoom[0])} to {time(zoom[1])}{" "}
          <button type="button" class="link" onClick={() => setParam("zoom", "")}>
            Show all times
          </button>
        </p>
      )}
    </>
  );
}
