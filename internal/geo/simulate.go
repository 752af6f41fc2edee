package geo

import (
	"net/netip"
	"strings"
)

// simulatedSource begins the source of a place that is not the address's own.
const simulatedSource = "simulated"

// Simulate gives addresses the place and network of others: those for which standIn has
// one. Their sources begin with "simulated". Call it before the first look-up.
func (l *Locator) Simulate(standIn func(netip.Addr) (other netip.Addr, ok bool)) { l.standIn = standIn }

// Simulated reports whether a source of a place says that it is not the address's own.
func Simulated(source string) bool { return strings.HasPrefix(source, simulatedSource) }
