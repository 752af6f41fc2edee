// Package diskio has the few file operations whose details decide whether data
// survives a crash or a full disk: replacing a file, appending to one, syncing a
// directory, locking a file, and reading lines of bounded length. Every room that keeps
// state on disk uses these and no others.
package diskio
