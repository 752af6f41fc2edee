// Runs queries, a JSON list on standard input, in the current directory, and prints a JSON list with
// the number of rows of each and the first of them, or its error:
//   node queries.mjs < QUERIES
import { readFileSync } from 'node:fs';
import { DuckDBInstance } from '@duckdb/node-api';

const instance = await DuckDBInstance.create(':memory:');
const db = await instance.connect();
const results = [];
for (const sql of JSON.parse(readFileSync(0, 'utf8'))) {
  try {
    const data = (await db.runAndReadAll(sql)).getRowObjectsJson();
    results.push({ rows: data.length, data: data.slice(0, 100) });
  } catch (error) {
    results.push({ rows: 0, error: error.message });
  }
}
console.log(JSON.stringify(results));
