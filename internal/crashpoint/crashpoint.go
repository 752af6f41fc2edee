// Package crashpoint names the moments at which a crash would be worst. In a build
// with the tag crashpoints, which only test/crash makes, a test can have a process
// die at one of them; in every other build the names cost nothing.
package crashpoint

import "strings"

// Env is the environment variable with the directory of armed points: a file with a
// point's name has the process that comes there first die.
const Env = "VALTRACK_CRASHPOINTS"

// File is a point's file name.
func File(point string) string { return strings.ReplaceAll(point, " ", "-") }
