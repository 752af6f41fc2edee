import { useState } from "preact/hooks";
import { hasKey, setKey, url, useAPI } from "../api";
import { bytes, num } from "../format";
import { isSite } from "../site";
import { Copy, Download } from "../ui/bits";
import { Card, Note } from "../ui/card";

function Snippet({ title, text }: { title: string; text: string }) {
  return (
    <div class="snippet">
      <p>
        {title} <Copy text={text} label={title} />
      </p>
      <pre tabIndex={0}>{text}</pre>
    </div>
  );
}

function Key() {
  const [text, setText] = useState("");
  const [set, changed] = useState(hasKey());
  const check = useAPI("/api/v1/summary");
  return (
    <Card title="Key" sub="with a key: addresses, records, exact locations" method="Kept in this tab until it is closed, and sent only to this server. The server's operator creates keys with “valtrack check key”.">
      <form
        class="search"
        onSubmit={(e) => {
          e.preventDefault();
          setKey(text.trim());
          changed(hasKey());
          setText("");
        }}
      >
        <input type="password" value={text} onInput={(e) => setText(e.currentTarget.value)} aria-label="API key" placeholder={set ? "a key is set" : "API key"} autocomplete="off" />
        <button type="submit">{set && !text ? "Forget the key" : "Use"}</button>
      </form>
      {set && check.problem?.status === 401 && <Note>The key is not accepted: {check.problem.message}.</Note>}
      {set && check.answer && !check.problem && <Note>The key is valid: {check.answer.meta.public ? "public view" : "full view"}.</Note>}
    </Card>
  );
}

const origin = location.href.split("#")[0].replace(/[^/]*$/, "");

/** The files of a static copy. */
function CopiedData() {
  return (
    <div class="grid">
      <Card class="half" title="Files" method="Replaced with each update; data/ has the data that the pages show, under the name given in site.json.">
        <ul class="plain">
          <li>
            <a href="api/v1/snapshot.json.gz">Snapshot</a>: everything here as one file, gzip-compressed JSON: totals, groups, history, nodes
          </li>
          <li>
            <a href="api/v1/timeseries.json">Time series</a>: hourly totals
          </li>
          <li>
            <a href="site.json">site.json</a>: when this copy was made
          </li>
        </ul>
        <Snippet title="curl" text={`curl -s ${origin}api/v1/snapshot.json.gz | gunzip`} />
      </Card>
      <Card class="half" title="DuckDB" method="The full datasets, with addresses, are on the server that this copy was made from.">
        <Snippet title="Nodes by client, from here" text={`SELECT n.client, count(*) AS nodes, sum(n.validators_mean * n.weight) AS validators\nFROM (SELECT unnest(nodes) AS n FROM read_json('${origin}api/v1/snapshot.json.gz', maximum_object_size=500000000))\nWHERE n.weight IS NOT NULL\nGROUP BY ALL ORDER BY nodes DESC;`} />
      </Card>
    </div>
  );
}

export const DataPage = isSite ? CopiedData : LiveData;

function LiveData() {
  const datasets = useAPI("/api/v1/datasets");
  const meta = datasets.answer?.meta;
  return (
    <div class="grid">
      <Card class="two" title="Datasets" sub="Parquet, zstd; tables with addresses need a key" meta={meta} problem={datasets.problem} loading={datasets.loading} method="Parts are added as events are committed; readers see only complete parts." rows={(datasets.answer?.data ?? []).map((d) => ({ table: d.table, public: d.public, files: d.files, bytes: d.bytes, rows: d.rows }))} empty={datasets.answer && !datasets.answer.data.length && "Nothing is stored yet."}>
        <div class="scroll" tabIndex={0} role="region" aria-label="Table: Datasets">
          <table>
            <thead>
              <tr>
                <th scope="col">Table</th>
                <th scope="col" class="n">
                  Rows
                </th>
                <th scope="col" class="n">
                  Files
                </th>
                <th scope="col" class="n">
                  Size
                </th>
                <th scope="col">Download of the last day</th>
              </tr>
            </thead>
            <tbody>
              {datasets.answer?.data.map((d) => (
                <tr key={d.table}>
                  <td>
                    <code>{d.table}</code>
                  </td>
                  <td class="n">{num(d.rows)}</td>
                  <td class="n">{num(d.files)}</td>
                  <td class="n">{bytes(d.bytes)}</td>
                  <td>
                    {d.public || !meta?.public
                      ? (["parquet", "csv", "ndjson"] as const).map((format) => (
                          <span key={format}>
                            <Download href={url("/api/v1/datasets/{table}", { table: d.table, format, from: Date.now() - 86400e3 })} label={`${d.table} of the last day as ${format}`}>
                              {format}
                            </Download>{" "}
                          </span>
                        ))
                      : "needs a key"}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Card>
      <Key />
      <Card class="two" title="API" method="Without a key: no IP address, record, multiaddr or host name; coordinates to 0.1 degree.">
        <ul class="plain">
          <li>
            <a href="docs">Documentation</a>, <a href="openapi.json">OpenAPI 3.1</a>, <a href="llms.txt">llms.txt</a>
          </li>
          <li>
            <a href="api/v1/snapshot">Snapshot</a>: all public data as one dated file
          </li>
          <li>
            <Download href={url("/api/v1/nodes", { counted: true, format: "geojson" })}>Nodes as GeoJSON</Download>, <Download href={url("/api/v1/nodes", { counted: true, format: "csv", sort: "-validators" })}>as CSV</Download>
          </li>
        </ul>
        <Snippet title="curl" text={`curl -s '${origin}api/v1/nodes?client=lighthouse&sort=-validators&format=csv'`} />
        <Snippet title="Live, as server-sent events" text={`curl -sN ${origin}api/v1/events`} />
      </Card>
      <Card title="DuckDB" method="See docs/recipes.md for churn, forks and watch logs.">
        <Snippet title="Nodes by client, from here" text={`SELECT client, count(*) AS nodes, sum(validators_mean * weight) AS validators\nFROM read_csv('${origin}api/v1/nodes?counted=true&format=csv')\nGROUP BY ALL ORDER BY nodes DESC;`} />
        <Snippet title="Handshakes per day, from the files" text={`SELECT date_trunc('day', make_timestamp(timestamp * 1000)) AS day, count(*)\nFROM 'data/validator_metadata_events.parquet/*.parquet'\nWHERE clock_error_ms IS NULL\nGROUP BY ALL ORDER BY day;`} />
      </Card>
    </div>
  );
}
