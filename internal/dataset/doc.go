// Package dataset stores rows in datasets: directories of Parquet parts that any
// reader opens as one table. It is the only package that knows Parquet.
//
// A data directory holds one directory per table, named as the table with .parquet.
// Rows are written in segments: a segment is one part in every table, and exists as a
// whole or not at all (see Writer). Each table has its file table_<name>.go, and
// tables.go lists them.
package dataset
