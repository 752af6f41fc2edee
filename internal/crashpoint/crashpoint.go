package crashpoint

import "strings"

// Env is the environment variable with the directory of armed points: a file with a
// point's name has the process that comes there first die.
const Env = "VALTRACK_CRASHPOINTS"

// File is a point's file name.
func File(point string) string { return strings.ReplaceAll(point, " ", "-") }
