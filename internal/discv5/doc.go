// Package discv5 finds Ethereum node records. It asks every node that answers for
// its routing table (FINDNODE at distances), walks at random beside that, comes
// back to each node slowly for a fresh record, and emits every record that is new
// or has a higher sequence number than before. Beside that it is a discv5 node as
// any other, with an honest record: it answers what others ask.
package discv5
