import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { known, num, time } from "../format";
import { colour, useTheme } from "../theme";

export interface Epoch {
  epoch: number;
  time: number | null;
  long_lived_subnets: number[];
  short_lived_subnets: number[] | null;
}

const Edge = ({ e }: { e: Epoch }) => (
  <span>
    epoch {num(e.epoch)}
    {known(e.time) && <><br />{time(e.time)}</>}
  </span>
);

const rowsWidth = 24; // px of the numbers beside the timeline, with a gap

/** Epochs by 64 subnets: long-lived ones, and those that were joined for duties. */
export function Timeline({ epochs }: { epochs: Epoch[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const theme = useTheme();
  const first = epochs[0].epoch;
  const span = epochs.at(-1)!.epoch - first + 1;
  const [width, setWidth] = useState(0);
  const cell = Math.max(3, Math.min(28, Math.floor(width / span)));
  const rowHeight = 4;
  useEffect(() => {
    const c = canvas.current!;
    const d = devicePixelRatio;
    c.width = span * cell * d;
    c.height = 64 * rowHeight * d;
    const ctx = c.getContext("2d")!;
    ctx.scale(d, d);
    const [quiet, long, short] = [colour("--track"), colour("--c-prysm"), colour("--validators")];
    epochs.forEach((e) => {
      const x = e.epoch - first;
      ctx.fillStyle = quiet;
      if (e.short_lived_subnets) ctx.fillRect(x * cell, 0, cell - 0.5, 64 * rowHeight);
      const draw = (subnets: number[], c: string) => {
        ctx.fillStyle = c;
        for (const s of subnets) ctx.fillRect(x * cell, s * rowHeight, cell - 0.5, rowHeight - 0.5);
      };
      draw(e.short_lived_subnets ?? [], short);
      draw(e.long_lived_subnets, long);
    });
  }, [epochs, theme, cell]);
  const scroll = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const host = scroll.current!.parentElement!;
    const size = () => setWidth(host.clientWidth - rowsWidth);
    const observer = new ResizeObserver(size);
    observer.observe(host);
    size();
    return () => observer.disconnect();
  }, []);
  useEffect(() => scroll.current!.scrollTo(span * cell, 0), [span * cell]); // the newest, where not all fits
  const at = (e: PointerEvent) => {
    const epoch = first + Math.floor(e.offsetX / cell);
    const subnet = Math.min(63, Math.floor(e.offsetY / rowHeight));
    const seen = epochs.find((s) => s.epoch === epoch);
    const what = !seen ? "not observed" : seen.long_lived_subnets.includes(subnet) ? "long-lived" : seen.short_lived_subnets?.includes(subnet) ? "short-lived" : seen.short_lived_subnets ? "not on it" : "not observed";
    canvas.current!.title = `epoch ${num(epoch)}${seen?.time ? ", " + time(seen.time) : ""}, subnet ${subnet}: ${what}`;
  };
  const duties = epochs.reduce((n, e) => n + (e.short_lived_subnets?.length ?? 0), 0);
  return (
    <>
      <div class="timeline">
        <div class="rows sub" aria-hidden="true">
          {[0, 16, 32, 48, 63].map((s) => (
            <span key={s} style={{ top: s * rowHeight + "px" }}>
              {s}
            </span>
          ))}
        </div>
        <div class="scroll" ref={scroll} tabIndex={0} role="region" aria-label="Epochs by subnets">
          <canvas ref={canvas} role="img" onPointerMove={at} style={{ width: span * cell + "px", height: 64 * rowHeight + "px" }} aria-label={`${num(epochs.length)} epochs by 64 subnets; ${num(duties)} short-lived subscriptions. The table has them.`} />
          <p class="sub" style={{ width: span * cell + "px" }}>
            {span * cell > 300 && <Edge e={epochs[0]} />}
            <Edge e={epochs.at(-1)!} />
          </p>
        </div>
      </div>
      <p class="sub">
        rows: subnets 0 to 63; columns: epochs · <span class="key long">long-lived</span> <span class="key short">short-lived (a duty)</span> <span class="key watched">observed, not on it</span> · blank: not observed
      </p>
    </>
  );
}
