// Reads datasets again and again with DuckDB until standard input ends, while
// others write them, and prints each read as a JSON line:
//   node watch.mjs DATA_DIR PAUSE_MS
//   {"table": ..., "rows": n, "twice": n, "again": n, "error": "..."}
// twice are rows whose key another has. again counts the attempts that met a part
// which was merged into another between DuckDB's listing and its opening; what
// fails otherwise, or each time, has an error. So have files with different columns, which
// other readers refuse; between the listing and the opening they may have been replaced, too.
import { DuckDBInstance } from '@duckdb/node-api';

const keys = {
  discovery_events: 'id, seq, crawler_id',
  metadata_events: 'visit_id',
  validator_metadata_events: 'visit_id',
  visit_events: 'visit_id, part',
  peer_estimates: 'id, timestamp',
};
const attempts = 5;

const [dataDir, pause] = process.argv.slice(2);
if (!dataDir || !(pause > 0)) {
  console.error('usage: node watch.mjs DATA_DIR PAUSE_MS');
  process.exit(2);
}
const db = await (await DuckDBInstance.create(':memory:')).connect();
let ended = false;
const end = new Promise((resolve) => process.stdin.on('end', () => { ended = true; resolve(); }));
process.stdin.resume();

async function read(table) {
  // DuckDB takes [, * and ? in a path for a pattern.
  const files = `${dataDir.replace(/[[*?]/g, '[$&]')}/${table}.parquet/*.parquet`.replaceAll("'", "''");
  for (let again = 0; ; again++) {
    try {
      const result = await db.runAndReadAll(`SELECT count(*)::DOUBLE, (count(*) - count(DISTINCT (${keys[table]})))::DOUBLE, max(hash(t)) FROM '${files}' t`);
      const [rows, twice] = result.getRows()[0];
      const schemas = await db.runAndReadAll(`SELECT count(DISTINCT columns)::DOUBLE FROM (SELECT string_agg(name) AS columns FROM parquet_schema('${files}') GROUP BY file_name)`);
      if (schemas.getRows()[0][0] > 1) throw new Error('files with different columns');
      return { table, rows, twice, again };
    } catch (err) {
      if (again + 1 >= attempts || !/No such file|Cannot open file|different columns/.test(err.message)) {
        return { table, rows: 0, twice: 0, again, error: err.message };
      }
    }
  }
}

while (!ended) {
  for (const table of Object.keys(keys)) console.log(JSON.stringify(await read(table)));
  await Promise.race([end, new Promise((resolve) => setTimeout(resolve, pause))]);
}
