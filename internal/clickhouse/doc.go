// Package clickhouse copies the datasets to a ClickHouse server, over its HTTP interface: each
// row once, whatever dies in between. It reads committed parts, one after another, inserts each
// under a deduplication token, counts what the server has of it, and goes on when that is all.
// What it has copied is in a file of the data directory. While the server does not answer,
// ingest goes on, and the copy catches up later. See docs/design/clickhouse.md.
package clickhouse
