/** A row of a picture's data. */
export type Row = Record<string, string | number | boolean | null | undefined>;

function cell(v: Row[string]): string {
  let text = v === null || v === undefined ? "" : String(v);
  if (typeof v === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text; // not a formula of a spreadsheet
  return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

export function csv(rows: Row[]): string {
  if (rows.length === 0) return "";
  const names = Object.keys(rows[0]);
  return [names.join(","), ...rows.map((r) => names.map((n) => cell(r[n])).join(","))].join("\r\n") + "\r\n";
}

export function save(name: string, type: string, content: BlobPart): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const a = document.createElement("a");
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// What a copy needs to look like the original without the style sheet.
const properties =
  "display position top right bottom left width height min-width max-width max-height margin padding box-sizing border-radius background-color background-image color font-family font-size font-weight line-height text-align white-space text-transform writing-mode overflow opacity flex-grow flex-shrink flex-basis flex-direction flex-wrap justify-content align-items align-self place-items grid-template-columns grid-column gap list-style border-bottom border-left border-collapse fill stroke stroke-width stroke-dasharray text-anchor transform".split(" ");

const escape = (text: string) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** XML of an element with its styles, built as text: the page's policy forbids style attributes. */
function markup(e: Element): string {
  const computed = getComputedStyle(e);
  if (computed.display === "none") return "";
  const style = escape(properties.map((p) => `${p}:${computed.getPropertyValue(p)}`).join(";"));
  if (e instanceof HTMLCanvasElement) return `<img style="${style}" src="${e.toDataURL()}"/>`;
  const name = e.localName;
  const attributes = [...e.attributes].filter((a) => !/^(style|class|on|tabindex|href)/.test(a.name)).map((a) => ` ${a.name}="${escape(a.value)}"`);
  const namespace = name === "svg" ? ' xmlns="http://www.w3.org/2000/svg"' : "";
  const children = [...e.childNodes].map((c) => (c instanceof Element ? markup(c) : escape(c.textContent ?? "")));
  return `<${name}${namespace}${attributes.join("")} style="${style}">${children.join("")}</${name}>`;
}

const edge = 16; // px around a picture
const line = 30; // px for its title and for its mark

/** The picture with its title and a mark, as an SVG that needs no style sheet; canvases are in it as PNG. */
export function picture(element: HTMLElement, title: string, mark: string): string {
  const { width, height } = element.getBoundingClientRect();
  const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const [w, h] = [width + 2 * edge, height + 2 * (edge + line)];
  const font = `font-family="${escape(getComputedStyle(element).fontFamily)}"`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}"><title>${escape(title)}</title>` +
    `<rect width="100%" height="100%" fill="${colour("--card")}"/><text x="${edge}" y="${edge + 14}" ${font} font-size="15" font-weight="700" fill="${colour("--text")}">${escape(title)}</text>` +
    `<foreignObject x="${edge}" y="${edge + line}" width="${width}" height="${height}"><div xmlns="http://www.w3.org/1999/xhtml">${markup(element)}</div></foreignObject>` +
    `<text x="${edge}" y="${h - edge}" ${font} font-size="12" fill="${colour("--muted")}">${escape(mark)}</text></svg>`
  );
}
