// Package dune publishes what everybody may see to Dune (dune.com), through its API for
// uploads: the nodes, their groups, and the totals over time. Each publication fills new
// tables. A saved query per table, which readers select from, is changed to the new table
// once that has all its rows: readers never see an empty or half-filled one, no matter where
// a publication ends.
package dune
