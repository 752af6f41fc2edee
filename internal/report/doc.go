// Package report has views of a data directory: structs with the field names of the API,
// and functions that write them as text for people.
//
// Read reads the datasets, every row once, into a Report with one small record per node, of
// all rows or of a time window (window.go). Report.Summary, Nodes, Evidence, Forks, Changes
// and Accuracy are its views (summary.go, node.go, evidence.go, forks.go, changes.go,
// truth.go), Report.Find finds a node by what a user has of it (find.go). What is estimated
// comes from a tracker.State, which a running consumer publishes and ReadState loads from a
// data directory: Validators (validators.go), Calibration (calibration.go) and Tracked
// (tracked.go) are views of that alone. The text_*.go files write text, which fits the
// terminal (text.go), and compute nothing.
package report
