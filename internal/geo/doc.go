// Package geo finds where an IP address is and whose network it belongs to, without any
// request: in a table that is embedded in the program, and in databases that the user gives.
package geo
