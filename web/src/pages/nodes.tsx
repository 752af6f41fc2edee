import { useEffect, useState } from "preact/hooks";
import { hasKey, url, useAPI, type NodeRow } from "../api";
import { ago, groupName, known, num, pct, time } from "../format";
import { Term } from "../glossary";
import { go, href, query, useRoute, type Params } from "../route";
import { csv, save, type Row } from "../save";
import { isSite, rows as copiedRows } from "../site";
import { Chip, Client, Download, Estimate, Id } from "../ui/bits";
import { Note } from "../ui/card";
import { change, filterNames, Filters, nodeParams } from "../ui/filters";
import { Failed } from "../ui/states";

const columns: [string, string, string][] = [
  ["id", "Peer", ""],
  ["client", "Client", ""],
  ["city", "Location", ""],
  ["as_name", "Network", ""],
  ["hosting", "Hosting", ""],
  ["validators", "Validators", "n"],
  ["p_validator", "At least one", "n"],
  ["last_seen", "Last seen", "n"],
];

const descendingFirst = ["validators", "p_validator", "last_seen"];

const clients = ["lighthouse", "prysm", "teku", "nimbus", "lodestar", "grandine", "erigon"];

/** What a text asks for: a client, a release with or without its v, both, or a node. */
export function wanted(text: string): Params {
  const client = clients.find((c) => text.toLowerCase().startsWith(c));
  const rest = /^[ /]*(?:v?(\d+(?:\.\d+){1,2}(?:[-+].*)?))?$/i.exec(text.slice(client?.length ?? 0)); // 1.2.3.4 is an address
  if (rest && (client || rest[1])) return { client, version: rest[1] };
  return { q: text, all: text && !isSite ? 1 : "" };
}

/** "Is my node seen?": by peer id, node id or record. Releases and clients are found too. */
export function Search() {
  const { params } = useRoute();
  const [text, setText] = useState(params.get("q") ?? "");
  useEffect(() => setText(params.get("q") ?? ""), [params]);
  const what = isSite ? "Peer id or node id" : hasKey() ? "Peer id, node id, ENR or IP address" : "Peer id, node id or ENR";
  return (
    <form
      class="search"
      role="search"
      onSubmit={(e) => {
        e.preventDefault();
        go("/nodes", wanted(text.trim()));
      }}
    >
      <input type="search" name="q" value={text} onInput={(e) => setText(e.currentTarget.value)} placeholder={`Is my node seen? ${what}`} aria-label={`Is my node seen? Search by ${what}, client or release`} spellcheck={false} autocomplete="off" />
      <button type="submit">Search</button>
    </form>
  );
}

function Row({ n }: { n: NodeRow }) {
  return (
    <tr>
      <td>
        <a href={href("/node/" + n.id)}>
          <Id id={n.id!} />
        </a>
      </td>
      <td>
        <Client client={n.client} release={n.client_release} />
      </td>
      <td>{n.country || n.country_code ? <><Chip>{n.country_code ?? "··"}</Chip> {[n.city, n.country].filter(Boolean).join(", ")}</> : <span class="sub">–</span>}</td>
      <td>{known(n.asn) ? <><a href={href("/nodes", { asn: n.asn })}>AS{n.asn}</a> <span class="sub">{n.as_name}</span></> : <span class="sub">–</span>}</td>
      <td>{n.hosting ? <Chip kind={n.hosting}>{groupName(n.hosting)}</Chip> : <span class="sub">–</span>}</td>
      <td class="n">
        <Estimate v={n.validators} low={n.validators_low} high={n.validators_high} />
      </td>
      <td class="n">{pct(n.p_validator)}</td>
      <td class="n" title={time(n.last_seen)}>
        {ago(n.last_seen)}
      </td>
    </tr>
  );
}

/** A row whose lists are text. */
const flat = (n: NodeRow): Row => Object.fromEntries(Object.entries(n).map(([k, v]) => [k, Array.isArray(v) ? v.join(" ") : v]));

/** Why a node may be missing, and what its operator can do. */
export const NotSeen = () => <>A node is found once its record is in the tables of other nodes: that requires an open UDP port, and takes some time after its start. To be counted it must also accept a connection, which requires an open TCP or QUIC port and a free peer slot.</>;

function Missing({ q }: { q: string | null }) {
  if (!q) return <Note>No node matches these filters. Remove one of them.</Note>;
  return (
    <Note>
      No node matches “{q}”. A search finds whole peer ids (16Uiu2…) and node ids (0x…){isSite ? "" : ", node records (enr:…)"}{isSite ? "" : hasKey() ? ", IP addresses" : ", with a key IP addresses"}, or an id's first six characters or more. <NotSeen />
    </Note>
  );
}

export function Nodes() {
  const { params } = useRoute();
  const [back, setBack] = useState<string[]>([]);
  const sort = params.get("sort") ?? "-validators";
  const filter = nodeParams(params);
  const page = useAPI("/api/v1/nodes", { ...filter, sort, limit: 50, cursor: params.get("cursor") });
  const q = params.get("q");
  const rows = page.answer?.data;
  const meta = page.answer?.meta;
  useEffect(() => {
    if (q && rows?.length === 1 && rows[0].id) go("/node/" + rows[0].id, {}, true);
  }, [q, rows]);
  const to = (cursor: string | null) => {
    const next: Record<string, string[]> = {};
    for (const name of params.keys()) next[name] = params.getAll(name);
    next.cursor = cursor ? [cursor] : [];
    go("/nodes", next);
  };
  const sortBy = (column: string) => {
    const first = descendingFirst.includes(column) ? "-" + column : column;
    const other = first.startsWith("-") ? column : "-" + column;
    setBack([]);
    change("/nodes", params, (p) => p.set("sort", sort === first ? other : first));
  };
  return (
    <section class="card" aria-labelledby="nodes">
      <header>
        <div>
          <h1 id="nodes">Nodes</h1>
          <p class="sub" role="status">
            {meta ? `${num(meta.total)} nodes` : "…"}
            {filter.counted ? " met in the last day, one per IP address and port" : " known"}{" "}
            {!isSite && (
              <button type="button" class="link" onClick={() => change("/nodes", params, (p) => (p.has("all") ? p.delete("all") : p.set("all", "1")))}>
                {filter.counted ? "Show all known" : "Show only those that count"}
              </button>
            )}
          </p>
        </div>
        <Search />
      </header>
      <Filters path="/nodes" />
      {!page.answer && page.problem ? (
        <Failed problem={page.problem} />
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Table of nodes">
          <table class="nodes">
            <thead>
              <tr>
                {columns.map(([name, label, cls]) => (
                  <th key={name} scope="col" class={cls} aria-sort={sort === name ? "ascending" : sort === "-" + name ? "descending" : undefined}>
                    <button type="button" onClick={() => sortBy(name)}>
                      {label} <span aria-hidden="true">{sort === name ? "▲" : sort === "-" + name ? "▼" : ""}</span>
                    </button>
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>{rows?.map((n) => <Row key={n.id} n={n} />)}</tbody>
          </table>
          {rows?.length === 0 && <Missing q={q} />}
        </div>
      )}
      <footer>
        <p>
          Validators: median and <Term name="90 % interval" /> of the estimate. {meta && <span class="age">Data {ago(meta.as_of)}.</span>}
        </p>
        <span class="tools">
          {isSite ? (
            <button type="button" onClick={async () => save("valtrack-nodes.csv", "text/csv", csv((await copiedRows(new URLSearchParams(query({ ...filter, sort })))).map(flat)))}>
              CSV
            </button>
          ) : (
            (["csv", "ndjson", "parquet", "geojson"] as const).map((format) => (
              <Download key={format} href={url("/api/v1/nodes", { ...filter, sort, format })}>
                {format === "geojson" ? "GeoJSON" : format === "parquet" ? "Parquet" : format.toUpperCase()}
              </Download>
            ))
          )}
          <button
            type="button"
            disabled={!params.get("cursor")}
            onClick={() => {
              to(back.at(-1) || null);
              setBack(back.slice(0, -1));
            }}
          >
            ‹ Previous
          </button>
          <button
            type="button"
            disabled={!meta?.next}
            onClick={() => {
              setBack([...back, params.get("cursor") ?? ""]);
              to(meta!.next);
            }}
          >
            Next ›
          </button>
        </span>
      </footer>
    </section>
  );
}

export const hasFilter = (p: URLSearchParams): boolean => filterNames.some((n) => p.has(n));
