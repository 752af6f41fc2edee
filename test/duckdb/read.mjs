// Prints a dataset directory, read by DuckDB as one table, as JSON lines:
//   node read.mjs DIRECTORY             every row; 64-bit integers are strings
//   node read.mjs DIRECTORY --types     {"column": "DuckDB type", ...}
//   node read.mjs DIRECTORY --sql SQL   the rows of a query on the view t
import { DuckDBInstance } from '@duckdb/node-api';

const [directory, mode, sql] = process.argv.slice(2);
if (!directory || (mode && !['--types', '--sql'].includes(mode))) {
  console.error('usage: node read.mjs DIRECTORY [--types | --sql SQL]');
  process.exit(2);
}
const instance = await DuckDBInstance.create(':memory:');
const db = await instance.connect();
// DuckDB takes [, * and ? in a path for a pattern.
const files = `${directory.replace(/[[*?]/g, '[$&]')}/*.parquet`;
await db.run(`CREATE VIEW t AS FROM '${files.replaceAll("'", "''")}'`);
if (mode === '--types') {
  const columns = await db.runAndReadAll('DESCRIBE t');
  console.log(JSON.stringify(Object.fromEntries(columns.getRows().map(([name, type]) => [name, type]))));
} else {
  const rows = await db.runAndReadAll(mode === '--sql' ? sql : 'FROM t');
  for (const row of rows.getRowObjectsJson()) console.log(JSON.stringify(row));
}
