// A picture as PNG: what a card shows, painted on a canvas. An SVG with HTML in it would be
// simpler to turn into one, but a page whose policy allows no data: images cannot load it.

const scale = 2; // pixels of the picture for one of the page
const markHeight = 20; // of the page's pixels

/** What is inside of an element is painted relative to its corner. */
interface Painter {
  ctx: CanvasRenderingContext2D;
  left: number;
  top: number;
}

const clear = (c: string) => c === "transparent" || c === "none" || /,\s*0\)$/.test(c);
const px = (text: string) => parseFloat(text) || 0;

const controls = ".tools, .switch, [role=tooltip]";

/** A card without its controls as a PNG file, with a last line that says what it is of. */
export function png(element: HTMLElement, mark: string): Promise<Blob | null> {
  const { left, top, width, height } = element.getBoundingClientRect();
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil(width) * scale;
  canvas.height = (Math.ceil(height) + markHeight) * scale;
  const ctx = canvas.getContext("2d")!;
  ctx.scale(scale, scale);
  ctx.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--card").trim();
  ctx.fillRect(0, 0, width, height + markHeight);
  for (const child of element.children) paint({ ctx, left, top }, child);
  const style = getComputedStyle(element);
  ctx.font = `12px ${style.fontFamily}`;
  ctx.fillStyle = getComputedStyle(element.querySelector("footer") ?? element).color;
  ctx.fillText(mark, px(style.paddingLeft), height + markHeight - px(style.paddingBottom));
  return new Promise((done) => canvas.toBlob(done));
}

function paint(p: Painter, e: Element): void {
  const style = getComputedStyle(e);
  if (style.display === "none" || style.visibility === "hidden" || e.matches(controls)) return;
  p.ctx.save();
  p.ctx.globalAlpha *= Number(style.opacity);
  if (e instanceof SVGSVGElement) for (const shape of e.querySelectorAll<SVGGraphicsElement>("path, line, rect, text")) paintShape(p, shape);
  else paintBox(p, e, style);
  p.ctx.restore();
}

function paintBox(p: Painter, e: Element, style: CSSStyleDeclaration): void {
  const { ctx } = p;
  const r = e.getBoundingClientRect();
  const [x, y] = [r.left - p.left, r.top - p.top];
  const box = new Path2D();
  box.roundRect(x, y, r.width, r.height, ["TopLeft", "TopRight", "BottomRight", "BottomLeft"].map((corner) => Math.min(px(style.getPropertyValue(`border-${corner.replace(/(?!^)[A-Z]/, "-$&").toLowerCase()}-radius`)), r.height / 2)));
  const stops = style.backgroundImage.startsWith("linear-gradient") ? (style.backgroundImage.match(/(?:rgb|color)a?\([^)]*\)/g) ?? []) : [];
  if (stops.length > 1) {
    const gradient = ctx.createLinearGradient(x, 0, x + r.width, 0);
    stops.forEach((c, i) => gradient.addColorStop(i / (stops.length - 1), c));
    ctx.fillStyle = gradient;
    ctx.fill(box);
  } else if (!clear(style.backgroundColor)) {
    ctx.fillStyle = style.backgroundColor;
    ctx.fill(box);
  }
  if (px(style.borderBottomWidth)) line(ctx, x, y + r.height, x + r.width, y + r.height, style.borderBottomColor);
  if (px(style.borderLeftWidth)) line(ctx, x, y, x, y + r.height, style.borderLeftColor, style.borderLeftStyle === "dashed");
  if (e instanceof HTMLCanvasElement) ctx.drawImage(e, x, y, r.width, r.height);
  if (e.classList.contains("whisker")) for (const end of [x, x + r.width - 1.5]) ctx.fillRect(end, y - 3, 1.5, 8); // its ends are no elements
  if (style.overflow !== "visible") ctx.clip(box);
  for (const child of e.childNodes) {
    if (child instanceof Element) paint(p, child);
    else if (child instanceof Text) paintText(p, child, style);
  }
}

function line(ctx: CanvasRenderingContext2D, x: number, y: number, x2: number, y2: number, colour: string, dashed = false): void {
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1;
  ctx.setLineDash(dashed ? [3, 3] : []);
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x2, y2);
  ctx.stroke();
  ctx.setLineDash([]);
}

/** Words, each where the browser has put it. */
function paintText({ ctx, left, top }: Painter, text: Text, style: CSSStyleDeclaration): void {
  ctx.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  ctx.fillStyle = style.color;
  const range = document.createRange();
  for (const word of text.data.matchAll(/\S+/g)) {
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    const r = range.getBoundingClientRect();
    const { fontBoundingBoxAscent: up, fontBoundingBoxDescent: down } = ctx.measureText(word[0]);
    if (style.writingMode === "vertical-rl") {
      ctx.save();
      ctx.translate(r.left - left + (r.width - up - down) / 2 + down, r.top - top);
      ctx.rotate(Math.PI / 2);
      ctx.fillText(word[0], 0, 0);
      ctx.restore();
    } else ctx.fillText(word[0], r.left - left, r.top - top + (r.height - up - down) / 2 + up);
  }
}

function paintShape({ ctx, left, top }: Painter, e: SVGGraphicsElement): void {
  const style = getComputedStyle(e);
  const m = e.getScreenCTM()!;
  ctx.save();
  ctx.transform(m.a, m.b, m.c, m.d, m.e - left, m.f - top);
  ctx.globalAlpha *= Number(style.opacity);
  const of = (name: string) => px(e.getAttribute(name) ?? "");
  if (e.localName === "text") {
    const anchors: Record<string, CanvasTextAlign> = { middle: "center", end: "right" };
    ctx.font = `${style.fontSize} ${style.fontFamily}`;
    ctx.fillStyle = style.fill;
    ctx.textAlign = anchors[style.textAnchor] ?? "left";
    ctx.fillText(e.textContent ?? "", of("x"), of("y"));
  } else {
    const shape = new Path2D(e.localName === "path" ? e.getAttribute("d")! : e.localName === "rect" ? `M${of("x")},${of("y")}h${of("width")}v${of("height")}h${-of("width")}z` : `M${of("x1")},${of("y1")}L${of("x2")},${of("y2")}`);
    ctx.setLineDash(style.strokeDasharray === "none" ? [] : style.strokeDasharray.split(/[ ,]+/).map(px));
    ctx.fillStyle = style.fill;
    ctx.strokeStyle = style.stroke;
    ctx.lineWidth = px(style.strokeWidth) || 1;
    if (e.localName !== "line" && !clear(style.fill)) ctx.fill(shape);
    if (!clear(style.stroke)) ctx.stroke(shape);
  }
  ctx.restore();
}
