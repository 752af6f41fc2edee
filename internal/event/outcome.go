package event

// OutcomeMeaning says in words what an outcome of a visit means; empty for OutcomeOK and for
// one that is not known.
func OutcomeMeaning(outcome string) string {
	return map[string]string{
		OutcomeDialTimeout:  "no answer: the node is down, or a firewall drops packets to it",
		OutcomeRefused:      "connection refused: nothing listens at that address and port",
		OutcomeUnreachable:  "no connection: there is no route to the address, or whatever answers there is not the node with this peer id",
		OutcomeNegotiation:  "connected, but the node does not speak our libp2p protocols or has another peer id",
		OutcomeStatus:       "connected, but the node did not answer our Status request",
		OutcomeWrongNetwork: "the node is on another network or fork",
		OutcomeMetadata:     "the node answered Status, but not our MetaData request",
		OutcomeGoodbye:      "the node ended the connection with a goodbye, whose code says why",
		OutcomeReset:        "the node closed the connection",
		OutcomeProtocol:     "the node violated the protocol",
		OutcomeCanceled:     "the visit was interrupted",
	}[outcome]
}

// GoodbyeMeaning is what clients mean by the code of a goodbye (consensus-specs phase0/p2p-interface.md
// and their own); empty for others.
func GoodbyeMeaning(code uint64) string {
	return map[uint64]string{
		1: "it shuts down", 2: "irrelevant network", 3: "fault or error",
		128: "unable to verify the network", 129: "too many peers", 250: "bad score", 251: "banned", 252: "banned address",
	}[code]
}
