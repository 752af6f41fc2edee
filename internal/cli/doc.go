// Package cli is the command line: one file per command. It turns flags,
// environment and configuration file into the typed Config of a service in package
// app, which builds and runs it. Only this package reads
// arguments and the environment, and only main exits.
package cli
