// Package tracker keeps the current state of each peer, its estimate, and the
// network's hourly history: in memory, and in one SQLite file next to the datasets,
// from which it can always be rebuilt.
//
// An event passes through it as follows:
//
//   - fold (fold.go, draft.go, days.go): Tracker.Add folds an event into a draft, the open
//     segment's copy of its peer. Tracker.Drop forgets the drafts.
//   - Tracker.Apply (tracker.go), once the segment is committed to the datasets, makes the
//     drafts the current peers.
//   - learner (learn.go, evidence.go) calibrates client versions, fits the prior, and
//     recomputes estimates; refresh.go decides when, and which.
//   - State (state.go, nodes.go, totals.go, history.go) is the immutable result, published
//     after each Apply for readers on any goroutine.
//   - store (store.go, load.go, rebuild.go): Tracker.Write writes what has changed, with the
//     segment's number, in one transaction. Read loads a State in another process.
//
// Each event counts once, however often it is delivered: the number tells which segments a
// start still has to read from the datasets (docs/design/tracker.md says what happens when
// the process dies). Tracker belongs to one goroutine, the consumer's, and has no locks.
package tracker
