package eth2

import (
	"regexp"
	"strings"
)

// address is what an IP address, a port or a node record looks like in a text that has no
// reason to have one.
var address = regexp.MustCompile(`(?i)\d{1,3}(\.\d{1,3}){3}|\d{1,3}(-\d{1,3}){3}|([0-9a-f]{0,4}:){2,}[0-9a-f]{0,4}|:\d{2,5}\b|enr:`)

// HasAddress reports whether a text says where a node can be reached: an IP address, also as
// providers write it in names of hosts (203-0-113-7), a host with a port, a multiaddr or a node
// record. Nodes choose their agents, and may write one there: what is published has none.
func HasAddress(s string) bool {
	_, parts, _ := strings.Cut(s, "/")
	for part := range strings.SplitSeq(parts, "/") {
		switch strings.ToLower(part) {
		case "ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr", "tcp", "udp":
			return true
		}
	}
	// Most texts have nothing that the expression could match.
	return (strings.Contains(s, ":") || strings.Count(s, ".") >= 3 || strings.Count(s, "-") >= 3) && address.MatchString(s)
}
