// Package hosting says on whose machines an address is: what kind of network
// an autonomous system is, and which cloud.
//
// A verdict comes from a table of networks that were looked at one by one
// (networks.csv), or else from the words of the network's name (rules.go).
// It says which, and is unknown rather than a guess when neither decides.
// testdata has the labelled networks that it is measured with, and
// make hosting-score prints precision and recall.
package hosting
