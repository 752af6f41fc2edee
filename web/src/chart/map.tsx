import { useEffect, useRef, useState } from "preact/hooks";
import { num, range } from "../format";
import { colour, useTheme } from "../theme";
import { cluster, loadWorld, worldWidth, type Cluster, type Place, type World } from "./globe";

/** What part of the world is shown: its middle, and how much larger than the whole. */
export interface View {
  lon: number;
  lat: number;
  zoom: number;
}

interface Props {
  places: Place[];
  by: "nodes" | "validators";
  label: string;
  /** With it the map can be moved, and fills its container. */
  view?: View;
  onView?: (v: View) => void;
}

const maxZoom = 40;
const tipHalf = 118; // px, half the greatest width of a tip
const home = { lon: 10, lat: 25, zoom: 1 };

/** Draws the map on a canvas and keeps what it needs between frames. */
class Painter {
  private at = new Float64Array();
  private clusters: Cluster[] = [];
  private clusteredAt = 0;
  private frame = 0;
  private places: Place[] = [];
  private by: "nodes" | "validators" = "nodes";
  private x = 0; // px by which the world is shifted
  private y = 0;
  zoom = 1;
  width = 0;
  height = 0;

  constructor(
    private canvas: HTMLCanvasElement,
    private world: World,
  ) {}

  private get scale(): number {
    return Math.min(this.width / worldWidth, Math.max(this.height / this.world.height, this.width / worldWidth / 1.6)) * this.zoom;
  }

  show(places: Place[], by: "nodes" | "validators"): void {
    if (places !== this.places) {
      this.places = places;
      this.at = new Float64Array(places.length * 2);
      places.forEach((p, i) => this.at.set(this.world.project(p.lon, p.lat), 2 * i));
    }
    this.by = by;
    this.clusteredAt = 0;
    this.draw();
  }

  resize(width: number, height: number): void {
    const view = this.width ? this.view() : null;
    this.width = width;
    this.height = height;
    this.canvas.width = width * devicePixelRatio;
    this.canvas.height = height * devicePixelRatio;
    this.look(view ?? home);
  }

  /** Moves the middle to a place. */
  look(v: View): void {
    this.zoom = Math.min(maxZoom, Math.max(1, v.zoom));
    const [x, y] = this.world.project(v.lon, v.lat);
    this.x = this.width / 2 - x * this.scale;
    this.y = this.height / 2 - y * this.scale;
    this.move(0, 0);
  }

  view(): View {
    const [lon, lat] = this.world.invert((this.width / 2 - this.x) / this.scale, (this.height / 2 - this.y) / this.scale);
    return { lon, lat, zoom: this.zoom };
  }

  move(dx: number, dy: number): void {
    const bound = (shift: number, size: number, world: number) => (world <= size ? (size - world) / 2 : Math.min(0, Math.max(size - world, shift)));
    this.x = bound(this.x + dx, this.width, worldWidth * this.scale);
    this.y = bound(this.y + dy, this.height, this.world.height * this.scale);
    this.draw();
  }

  /** Zooms so that what is at a point stays there. */
  zoomAt(factor: number, px: number, py: number): void {
    const before = this.scale;
    this.zoom = Math.min(maxZoom, Math.max(1, this.zoom * factor));
    const ratio = this.scale / before;
    this.x = px - (px - this.x) * ratio;
    this.y = py - (py - this.y) * ratio;
    this.move(0, 0);
  }

  hit(px: number, py: number): Cluster | undefined {
    // The smallest that is hit: it is drawn above larger ones.
    return this.clusters.findLast((c) => Math.hypot(c.x + this.x - px, c.y + this.y - py) <= Math.max(6, this.radius(c)));
  }

  private radius(c: Cluster): number {
    const largest = Math.max(10, Math.min(30, this.width / 36));
    return Math.max(1.6, largest * Math.sqrt(c.value / (this.clusters[0]?.value || 1)));
  }

  draw(): void {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.paint());
  }

  private paint(): void {
    const ctx = this.canvas.getContext("2d");
    if (!ctx || !this.width) return;
    const scale = this.scale;
    if (this.clusteredAt !== scale) {
      this.clusters = cluster(this.at, this.places, this.by, scale);
      this.clusteredAt = scale;
    }
    const d = devicePixelRatio;
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, this.canvas.width, this.canvas.height);
    ctx.setTransform(d * scale, 0, 0, d * scale, d * this.x, d * this.y);
    ctx.fillStyle = colour("--land");
    ctx.fill(this.world.land);
    ctx.strokeStyle = colour("--border-line");
    ctx.lineWidth = 0.7 / scale;
    ctx.stroke(this.world.borders);
    ctx.setTransform(d, 0, 0, d, d * this.x, d * this.y);
    ctx.fillStyle = ctx.strokeStyle = colour(this.by === "nodes" ? "--accent" : "--validators");
    ctx.lineWidth = 1;
    for (const c of this.clusters) {
      const r = this.radius(c);
      if (c.x + this.x < -r || c.x + this.x > this.width + r || c.y + this.y < -r || c.y + this.y > this.height + r) continue;
      ctx.beginPath();
      ctx.arc(c.x, c.y, r, 0, 2 * Math.PI);
      ctx.globalAlpha = 0.32;
      ctx.fill();
      ctx.globalAlpha = 0.9;
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
  }

  stop(): void {
    cancelAnimationFrame(this.frame);
  }
}

/** Lets pointers, wheel and keys move the map; returns what undoes that. */
function movable(canvas: HTMLCanvasElement, painter: Painter, moved: () => void): () => void {
  const pointers = new Map<number, { x: number; y: number }>();
  const abort = new AbortController();
  const on = <K extends keyof HTMLElementEventMap>(type: K, f: (e: HTMLElementEventMap[K]) => void, passive = true) => canvas.addEventListener(type, f, { signal: abort.signal, passive });
  on("pointerdown", (e) => {
    pointers.set(e.pointerId, { x: e.offsetX, y: e.offsetY });
    canvas.setPointerCapture(e.pointerId);
  });
  const up = (e: PointerEvent) => void pointers.delete(e.pointerId);
  on("pointerup", up);
  on("pointercancel", up);
  on("pointermove", (e) => {
    const before = pointers.get(e.pointerId);
    if (!before) return;
    const now = { x: e.offsetX, y: e.offsetY };
    const other = [...pointers].find(([id]) => id !== e.pointerId)?.[1];
    if (other) {
      const apart = (p: { x: number; y: number }) => Math.max(10, Math.hypot(p.x - other.x, p.y - other.y));
      painter.zoomAt(apart(now) / apart(before), other.x, other.y);
    } else painter.move(now.x - before.x, now.y - before.y);
    pointers.set(e.pointerId, now);
    moved();
  });
  on(
    "wheel",
    (e) => {
      e.preventDefault();
      painter.zoomAt(Math.exp(-e.deltaY / 400), e.offsetX, e.offsetY);
      moved();
    },
    false,
  );
  on(
    "keydown",
    (e) => {
      const steps: Record<string, () => void> = {
        ArrowLeft: () => painter.move(60, 0),
        ArrowRight: () => painter.move(-60, 0),
        ArrowUp: () => painter.move(0, 60),
        ArrowDown: () => painter.move(0, -60),
        "+": () => painter.zoomAt(1.4, painter.width / 2, painter.height / 2),
        "=": () => painter.zoomAt(1.4, painter.width / 2, painter.height / 2),
        "-": () => painter.zoomAt(1 / 1.4, painter.width / 2, painter.height / 2),
        "0": () => painter.look(home),
      };
      if (!steps[e.key]) return;
      e.preventDefault();
      steps[e.key]();
      moved();
    },
    false,
  );
  return () => abort.abort();
}

interface Tip {
  x: number;
  y: number;
  cluster: Cluster;
}

export function WorldMap(p: Props) {
  const host = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const painter = useRef<Painter | null>(null);
  const [tip, setTip] = useState<Tip | null>(null);
  const [failed, setFailed] = useState(false);
  const theme = useTheme();
  const latest = useRef(p);
  latest.current = p;
  const movableMap = !!p.onView;

  useEffect(() => {
    let undo = () => {};
    let gone = false;
    let timer = 0;
    loadWorld().then(
      (world) => {
        if (gone) return;
        const made = new Painter(canvas.current!, world);
        painter.current = made;
        const size = () => {
          const width = host.current?.clientWidth;
          if (!width) return; // hidden, while the table is shown
          const height = latest.current.onView ? host.current!.clientHeight : Math.round((width * world.height) / worldWidth);
          canvas.current!.style.height = height + "px";
          made.resize(width, height);
        };
        size();
        if (latest.current.view) made.look(latest.current.view);
        made.show(latest.current.places, latest.current.by);
        const observer = new ResizeObserver(size);
        observer.observe(host.current!);
        const moved = () => {
          setTip(null);
          clearTimeout(timer);
          timer = window.setTimeout(() => latest.current.onView?.(made.view()), 250);
        };
        const still = movableMap ? movable(canvas.current!, made, moved) : () => {};
        undo = () => {
          observer.disconnect();
          still();
          made.stop();
        };
      },
      () => setFailed(true),
    );
    return () => {
      gone = true;
      clearTimeout(timer);
      undo();
    };
  }, [movableMap]);

  useEffect(() => painter.current?.show(p.places, p.by), [p.places, p.by, theme]);

  const point = (e: PointerEvent) => {
    if (e.buttons && e.type === "pointermove") return; // the map is being moved
    const c = painter.current?.hit(e.offsetX, e.offsetY);
    if (c || tip) setTip(c ? { x: e.offsetX, y: e.offsetY, cluster: c } : null);
  };
  const left = (e: PointerEvent) => e.pointerType === "mouse" && setTip(null); // a finger leaves at once
  const step = (factor: number) => {
    const made = painter.current;
    if (!made) return;
    if (factor) made.zoomAt(factor, made.width / 2, made.height / 2);
    else made.look(home);
    p.onView?.(made.view());
  };
  return (
    <div class={"map" + (movableMap ? " full" : "")} ref={host}>
      <canvas ref={canvas} role="img" aria-label={p.label} tabIndex={movableMap ? 0 : undefined} onPointerMove={point} onPointerDown={point} onPointerLeave={left} onKeyDown={(e) => e.key === "Escape" && setTip(null)} />
      {failed && <p class="note">The map could not be loaded; the table has its data.</p>}
      {tip && (
        <div class={"tip" + (tip.y < 80 ? " below" : "")} style={{ left: `clamp(${tipHalf}px, ${tip.x}px, calc(100% - ${tipHalf}px))`, top: tip.y + "px" }}>
          <b>{tip.cluster.name}</b>
          {tip.cluster.places > 1 && ` and ${num(tip.cluster.places - 1)} more`}
          <br />
          {num(tip.cluster.nodes)} {tip.cluster.nodes === 1 ? "node" : "nodes"}, about {num(tip.cluster.validators)} validators
          {tip.cluster.low !== null && (
            <>
              <br />
              90 %: {range(tip.cluster.low, tip.cluster.high)}
            </>
          )}
        </div>
      )}
      {movableMap && (
        <div class="zoom">
          <button type="button" aria-label="Zoom in" onClick={() => step(1.6)}>
            +
          </button>
          <button type="button" aria-label="Zoom out" onClick={() => step(1 / 1.6)}>
            −
          </button>
          <button type="button" aria-label="Whole world" onClick={() => step(0)}>
            ⤢
          </button>
        </div>
      )}
    </div>
  );
}
