package geo

import (
	"net/netip"
	"strings"

	"github.com/chainbound/valtrack/internal/prefix"
)

// simulatedSource begins the source of a place that is not the address's own.
const simulatedSource = "simulated"

// Simulate gives addresses the place and network of others: those for which standIn has
// one. Their sources begin with "simulated". Call it before the first look-up.
func (l *Locator) Simulate(standIn func(netip.Addr) (other netip.Addr, ok bool)) { l.standIn = standIn }

// Simulated reports whether a source of a place says that it is not the address's own.
func Simulated(source string) bool { return strings.HasPrefix(source, simulatedSource) }

// inPlaceOf is the address that is looked up for another.
func (l *Locator) inPlaceOf(ip netip.Addr) (lookedUp netip.Addr, simulated bool) {
	if l.standIn != nil {
		if other, ok := l.standIn(prefix.Unwrap(ip)); ok {
			return other, true
		}
	}
	return ip, false
}
