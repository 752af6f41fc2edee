package event

import (
	"fmt"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/printable"
)

// MaxNameSize bounds network, crawler_id and crawler_location, in bytes.
const MaxNameSize = 128

// Bounds on strings that peers choose, in bytes.
const (
	maxENR       = 512 // base64 of the 300 bytes that EIP-778 allows
	maxID        = MaxNameSize
	maxMultiaddr = 512
	maxAgent     = 256
	maxError     = 512
	maxPart      = 1<<31 - 1 // a column of 32 bits
	maxSince     = 1<<31 - 1 // likewise; ms
	// Times outside these are a broken clock, not an observation: 2020 to 2100.
	minTime, maxTime = 1577836800000, 4102444800000
)

func invalid(subject, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrInvalid, subject, fmt.Sprintf(format, args...))
}

func (c *Common) check(subject string) error {
	switch {
	case c.Network == "":
		return invalid(subject, "network is missing")
	case c.CrawlerID == "":
		return invalid(subject, "crawler_id is missing")
	case len(c.Network) > maxID || len(c.CrawlerID) > maxID || len(c.CrawlerLocation) > maxID || len(c.CrawlerVersion) > maxID:
		return invalid(subject, "network, crawler_id, crawler_location or crawler_version is over %d bytes", maxID)
	case c.Timestamp < minTime || c.Timestamp > maxTime:
		return invalid(subject, "timestamp %d is not a Unix time in milliseconds", c.Timestamp)
	case c.ClockSkewMS != nil && (*c.ClockSkewMS < -maxTime || *c.ClockSkewMS > maxTime):
		return invalid(subject, "clock_skew_ms %d is out of range", *c.ClockSkewMS)
	}
	return nil
}

// validateText refuses text that is not printable: it is shown to people, and reaches files
// and labels of metrics.
func validateText(subject string, texts ...string) error {
	for _, text := range texts {
		if !printable.Is(text) {
			return invalid(subject, "%.80q is not printable", text)
		}
	}
	return nil
}

func validateID(subject, id string) error {
	if id == "" || len(id) > maxID {
		return invalid(subject, "id is missing or over %d bytes", maxID)
	}
	return nil
}

func validateSubnets(subject, field string, subnets []int, count int) error {
	for i, s := range subnets {
		if s < 0 || s >= count {
			return invalid(subject, "%s has %d, want 0 to %d", field, s, count-1)
		}
		if i > 0 && s <= subnets[i-1] {
			return invalid(subject, "%s is not sorted and unique", field)
		}
	}
	return nil
}

func (m *MetaData) validate(subject string) error {
	if m.Syncnets != nil && *m.Syncnets > 0x0f {
		return invalid(subject, "syncnets %v has bits above the fourth", *m.Syncnets)
	}
	return nil
}

// Validate implements Event.
func (e *PeerDiscovered) Validate() error {
	if err := e.validateValues(); err != nil {
		return err
	}
	return validateText(e.Subject(), e.Network, e.CrawlerID, e.CrawlerLocation, e.CrawlerVersion, e.ENR, e.ID, e.IP, e.IP6)
}

func (e *PeerDiscovered) validateValues() error {
	const s = SubjectPeerDiscovered
	if err := e.check(s); err != nil {
		return err
	}
	if err := validateID(s, e.ID); err != nil {
		return err
	}
	if e.ENR == "" || len(e.ENR) > maxENR {
		return invalid(s, "enr is missing or over %d bytes", maxENR)
	}
	if e.NodeID == (eth2.NodeID{}) {
		return invalid(s, "node_id is missing")
	}
	if len(e.IP) > maxID || len(e.IP6) > maxID {
		return invalid(s, "ip is over %d bytes", maxID)
	}
	return nil
}

// Validate implements Event.
func (e *MetadataReceived) Validate() error {
	if err := e.validateValues(); err != nil {
		return err
	}
	return validateText(e.Subject(), e.Network, e.CrawlerID, e.CrawlerLocation, e.CrawlerVersion, e.ENR, e.ID, e.Multiaddr, e.ClientVersion, e.VisitID)
}

func (e *MetadataReceived) validateValues() error {
	const s = SubjectMetadataReceived
	if err := e.check(s); err != nil {
		return err
	}
	if err := validateID(s, e.ID); err != nil {
		return err
	}
	switch {
	case e.MetaData == nil:
		return invalid(s, "metadata is missing")
	case len(e.ENR) > maxENR:
		return invalid(s, "enr is over %d bytes", maxENR)
	case len(e.Multiaddr) > maxMultiaddr:
		return invalid(s, "multiaddr is over %d bytes", maxMultiaddr)
	case len(e.ClientVersion) > maxAgent:
		return invalid(s, "client_version is over %d bytes", maxAgent)
	case len(e.VisitID) > maxID:
		return invalid(s, "visit_id is over %d bytes", maxID)
	case e.ColumnSubnets != nil && (*e.ColumnSubnets < 0 || *e.ColumnSubnets > eth2.NumberOfColumns):
		return invalid(s, "column_subnets %d is out of range", *e.ColumnSubnets)
	}
	if err := validateDirection(s, e.Direction, e.Transport); err != nil {
		return err
	}
	if err := e.MetaData.validate(s); err != nil {
		return err
	}
	if err := validateSubnets(s, "subscribed_subnets", e.SubscribedSubnets, eth2.AttestationSubnetCount); err != nil {
		return err
	}
	return validateSubnets(s, "sync_subnets", e.SyncSubnets, eth2.SyncCommitteeSubnetCount)
}

// The earlier program's events have neither direction nor transport.
func validateDirection(subject, direction, transport string) error {
	if direction != "" && direction != Inbound && direction != Outbound {
		return invalid(subject, "direction %.20q, want %s or %s", direction, Outbound, Inbound)
	}
	if transport != "" && transport != QUIC && transport != TCP {
		return invalid(subject, "transport %.20q, want %s or %s", transport, QUIC, TCP)
	}
	return nil
}

// Validate implements Event.
func (e *VisitEnded) Validate() error {
	if err := e.validateValues(); err != nil {
		return err
	}
	return validateText(e.Subject(), e.Network, e.CrawlerID, e.CrawlerLocation, e.CrawlerVersion, e.ID, e.VisitID, e.Multiaddr, e.ClientVersion, e.Error)
}

func (e *VisitEnded) validateValues() error {
	const s = SubjectVisitEnded
	if err := e.check(s); err != nil {
		return err
	}
	if err := validateID(s, e.ID); err != nil {
		return err
	}
	switch {
	case e.VisitID == "" || len(e.VisitID) > maxID:
		return invalid(s, "visit_id is missing or over %d bytes", maxID)
	case !slices.Contains(Outcomes(), e.Outcome):
		return invalid(s, "outcome %.20q is unknown", e.Outcome)
	case e.Started < minTime || e.Ended > maxTime || e.Ended < e.Started:
		return invalid(s, "started %d and ended %d are not a span of Unix milliseconds", e.Started, e.Ended)
	case e.Part < 0 || e.Part > maxPart:
		return invalid(s, "part %d is out of range", e.Part)
	case (e.Part > 0 || e.More) && e.Watch == nil:
		return invalid(s, "part %d of a visit without a watch", e.Part)
	case len(e.Multiaddr) > maxMultiaddr:
		return invalid(s, "multiaddr is over %d bytes", maxMultiaddr)
	case len(e.ClientVersion) > maxAgent || len(e.Error) > maxError:
		return invalid(s, "client_version or error is too long")
	}
	if e.EarlierBootEnd != "" {
		if _, err := ParseKey(e.EarlierBootEnd); err != nil {
			return invalid(s, "earlier_boot_end: %v", err)
		}
	}
	if err := validateDirection(s, e.Direction, e.Transport); err != nil {
		return err
	}
	if e.Watch != nil {
		return e.Watch.validate(s)
	}
	return nil
}

func (w *Watch) validate(subject string) error {
	if w.From < minTime || w.To > maxTime || w.To < w.From {
		return invalid(subject, "watch from %d to %d is not a span of Unix milliseconds", w.From, w.To)
	}
	if len(w.Since) > 0 && len(w.Since) != len(w.Initial) {
		return invalid(subject, "watch since has %d entries for %d initial subnets", len(w.Since), len(w.Initial))
	}
	for _, ms := range w.Since {
		if ms < 0 || ms > maxSince {
			return invalid(subject, "watch since %d ms is out of range", ms)
		}
	}
	for _, c := range w.Changes {
		if c.At < 0 || c.At > w.To-w.From || c.Subnet < 0 || c.Subnet >= eth2.AttestationSubnetCount {
			return invalid(subject, "watch change %+v is out of range", c)
		}
	}
	for _, m := range w.MetaDataChanges {
		if err := m.validate(subject); err != nil {
			return err
		}
	}
	return validateSubnets(subject, "watch initial", w.Initial, eth2.AttestationSubnetCount)
}
