// Package wire encodes and decodes the packets of the discv5 wire protocol, version 5.1
// (discv5-wire.md and discv5-theory.md of the devp2p specifications), and keeps the
// session keys. It has the messages that a crawler needs: PING, PONG, FINDNODE, NODES,
// TALKREQ and TALKRESP.
//
// A NODES message is decoded record by record, so that an invalid record does not cost
// the valid ones beside it.
package wire
