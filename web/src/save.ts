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

/** The picture as an SVG that needs no style sheet; canvases are in it as PNG. */
export function picture(element: HTMLElement, title: string): string {
  const copy = element.cloneNode(true) as HTMLElement;
  const sources = [element, ...element.querySelectorAll<HTMLElement>("*")];
  const targets = [copy, ...copy.querySelectorAll<HTMLElement>("*")];
  sources.forEach((from, i) => {
    const style = getComputedStyle(from);
    targets[i].setAttribute("style", [...style].map((p) => `${p}:${style.getPropertyValue(p)}`).join(";"));
    if (from instanceof HTMLCanvasElement) {
      const image = document.createElement("img");
      image.src = from.toDataURL();
      image.setAttribute("style", targets[i].getAttribute("style")!);
      targets[i].replaceWith(image);
    }
  });
  const { width, height } = element.getBoundingClientRect();
  const background = getComputedStyle(document.documentElement).getPropertyValue("--card");
  const body = new XMLSerializer().serializeToString(copy);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`;
  const text = document.createElement("i");
  text.textContent = title;
  return `${svg}<title>${text.innerHTML}</title><rect width="100%" height="100%" fill="${background.trim()}"/><foreignObject width="100%" height="100%">${body}</foreignObject></svg>`;
}
