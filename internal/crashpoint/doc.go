// Package crashpoint names the moments at which a crash would be worst. In a build
// with the tag crashpoints, which only test/crash makes, a test can have a process
// die at one of them; in every other build the names cost nothing.
package crashpoint
