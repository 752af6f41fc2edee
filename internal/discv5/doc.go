// Package discv5 finds Ethereum node records. It queries every node that responds for
// its routing table (FINDNODE at distances), walks at random at the same time, revisits
// each node slowly for a fresh record, and emits every record that is new, has a higher
// sequence number than before, or was given by its node and differs. Otherwise it is a
// discv5 node like any other, with a truthful record: it answers the requests of
// others. Its packets are paced below what servers allow (pace.go).
package discv5
