/** The entries of a node record (EIP-778), for who wants to see what theirs says. */

type Item = Uint8Array | Item[];

function rlp(b: Uint8Array): Item {
  let at = 0;
  function long(n: number): number {
    let v = 0;
    for (let i = 0; i < n; i++) v = v * 256 + b[at++];
    return v;
  }
  function item(): Item {
    const head = b[at++];
    if (head === undefined) throw new Error("cut off");
    if (head < 0x80) return b.slice(at - 1, at);
    const list = head >= 0xc0;
    const short = head - (list ? 0xc0 : 0x80);
    const size = short < 56 ? short : long(short - 55);
    const end = at + size;
    if (!(end <= b.length)) throw new Error("cut off");
    if (!list) {
      const out = b.slice(at, end);
      at = end;
      return out;
    }
    const items: Item[] = [];
    while (at < end) items.push(item());
    return items;
  }
  return item();
}

const hex = (b: Uint8Array) => "0x" + [...b].map((x) => x.toString(16).padStart(2, "0")).join("");
const int = (b: Uint8Array) => String(b.reduce((n, x) => n * 256 + x, 0));

const readers: Record<string, (b: Uint8Array) => string> = {
  id: (b) => new TextDecoder().decode(b),
  ip: (b) => [...b].join("."),
  tcp: int,
  udp: int,
  tcp6: int,
  udp6: int,
  quic: int,
  quic6: int,
  cgc: int,
  eth2: (b) => `digest ${hex(b.slice(0, 4))}, next version ${hex(b.slice(4, 8))}, next epoch ${hex(b.slice(8).reverse())}`,
};

/** Names and values of a record's entries; null when it is none. */
export function decodeENR(text: string): [string, string][] | null {
  try {
    const raw = atob(text.replace(/^enr:/, "").replaceAll("-", "+").replaceAll("_", "/"));
    const list = rlp(Uint8Array.from(raw, (c) => c.charCodeAt(0)));
    if (!Array.isArray(list) || list.length < 2) return null;
    const out: [string, string][] = [["seq", int(list[1] as Uint8Array)]];
    for (let i = 2; i + 1 < list.length; i += 2) {
      const name = new TextDecoder().decode(list[i] as Uint8Array);
      const value = list[i + 1];
      out.push([name, Array.isArray(value) ? "(list)" : (readers[name] ?? hex)(value)]);
    }
    return out;
  } catch {
    return null;
  }
}
