// Runs queries, a JSON list on standard input, in the current directory, and prints a JSON list with
// the number of rows of each, or its error:
//   node queries.mjs < QUERIES
import { readFileSync } from 'node:fs';
import { DuckDBInstance } from '@duckdb/node-api';

const instance = await DuckDBInstance.create(':memory:');
const db = await instance.connect();
const results = [];
for (const sql of JSON.parse(readFileSync(0, 'utf8'))) {
  try {
    results.push({ rows: (await db.runAndReadAll(sql)).getRowObjectsJson().length });
  } catch (error) {
    results.push({ rows: 0, error: error.message });
  }
}
console.log(JSON.stringify(results));
