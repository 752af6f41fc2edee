// Runs the SQL that it reads, and
// prints the rows of the last statement as JSON lines:
//   node sql.mjs < FILE
import { readFileSync } from 'node:fs';
import { DuckDBInstance } from '@duckdb/node-api';

const db = await (await DuckDBInstance.create(':memory:')).connect();
const statements = await db.extractStatements(readFileSync(0, 'utf8'));
for (let i = 0; i < statements.count; i++) {
  const result = await (await statements.prepare(i)).runAndReadAll();
  if (i === statements.count - 1) for (const row of result.getRowObjectsJson()) console.log(JSON.stringify(row));
}
