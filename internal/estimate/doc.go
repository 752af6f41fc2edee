// Package estimate turns what a beacon node shows into the number of validators behind it,
// with an interval: subscription logs of watches, snapshots of its subscriptions, custody
// group counts and sync committee subnets. It is pure: no goroutine, no I/O, no clock.
//
// Statistics keep what was observed of one peer with one client version in one day;
// Evidence sums those since the number last changed (Model.Stretch); a Model, which holds the
// network's parameters, the prior and what was learned, turns Evidence into an Estimate. Learn
// learns from many peers; Model.Totals sums estimates. Every fact of a client is in clients.go.
// docs/methodology.md has the reasons.
package estimate
