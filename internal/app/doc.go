// Package app builds the services of a command in the order in which data flows
// through them, runs them, and stops them in the reverse order. Each command that
// runs until it is stopped has one type: Sentry, Consumer, Pipeline (both, with a
// JetStream between them) and Devnet. Opening one either builds all of it or
// nothing.
//
// Package cli parses options into the Config of a type here; nothing in this
// package reads arguments or the environment, except GOGC.
package app
