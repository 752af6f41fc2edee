package devnet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/event"
)

// Persona is what a node does wrong, if anything.
type Persona string

// Personas. Unless said otherwise the node is in discv5 with a good record.
const (
	Healthy Persona = "healthy"
	// Dead has a record, but nothing listens at its address: TCP is refused.
	Dead Persona = "dead"
	// Gone has a record whose address never answers, as behind a firewall.
	Gone Persona = "gone"
	// Hang accepts connections and streams and never answers.
	Hang Persona = "hang"
	// Goodbye says goodbye 129 (too many peers) to everyone at once.
	Goodbye Persona = "goodbye"
	// WrongDigest is of another network: record, Status and topics.
	WrongDigest Persona = "wrong_digest"
	// WrongStatus has our digest in the record, another in Status and topics.
	WrongStatus Persona = "wrong_status"
	// NoEth2 has no eth2 entry: an execution node, without libp2p.
	NoEth2 Persona = "no_eth2"
	// BadEth2 has an eth2 entry of 3 bytes.
	BadEth2 Persona = "bad_eth2"
	// ErrorCodes answers Status and MetaData with result codes 1, 2, 3 and 139.
	ErrorCodes Persona = "error_codes"
	// Garbage answers with random bytes.
	Garbage Persona = "garbage"
	// Oversize announces and sends more than any message may have.
	Oversize Persona = "oversize"
	// OldProtocols speaks status/1 and metadata/1 or 2 only.
	OldProtocols Persona = "old_protocols"
	// MalformedENR has a 3-byte attnets, a 2-byte syncnets, a 9-byte cgc with
	// leading zeros; it speaks correctly.
	MalformedENR Persona = "malformed_enr"
	// MalformedTopics announces broken topics among its own.
	MalformedTopics Persona = "malformed_topics"
	// Flood announces its topics and then tens of thousands of others.
	Flood Persona = "flood"
	// Slow takes Config.SlowDelay for each answer.
	Slow Persona = "slow"
	// Quota is healthy, and its discv5 has Lighthouse's packet filter: a node that
	// sends more than 8 packets per second is banned for an hour, and so is an address
	// that sends more than 9, or of which more than 5 node ids were banned.
	Quota Persona = "quota"
	// NoGossip speaks no gossip protocol.
	NoGossip Persona = "no_gossip"
	// NoAgent has no agent in identify.
	NoAgent Persona = "no_agent"
	// Unlisted is healthy, but in nobody's discv5 table, as a node behind a NAT:
	// it is found only when it dials (Config.DialBack, Devnet.Dial).
	Unlisted Persona = "unlisted"
	// Redials is healthy and has fewer peers than it wants: whoever was connected with it
	// and is not any more it dials again, once a second (of slots of 12 s).
	Redials Persona = "redials"
	// NoPort is Redials with a record that has no TCP and no QUIC port: nobody can dial it.
	// It dials the strangers that it meets in discv5.
	NoPort Persona = "no_port"
	// Unaware has software that knows only the forks of before the devnet's start: it
	// announces no next fork, and stays on its digest when one comes.
	Unaware Persona = "unaware"
)

// trait is what a persona means for a crawler.
type trait struct {
	ours, reachable, handshake, hello bool
	outcomes                          []string
}

// traits of every persona. Outcomes are empty where a crawler has no reason to
// dial.
func traits() map[Persona]trait {
	ok := []string{event.OutcomeOK}
	good := trait{true, true, true, true, ok}
	slow := []string{event.OutcomeOK, event.OutcomeStatus, event.OutcomeMetadata, event.OutcomeProtocol}
	return map[Persona]trait{
		Healthy:         good,
		Dead:            {true, false, false, false, []string{event.OutcomeRefused, event.OutcomeDialTimeout, event.OutcomeUnreachable}},
		Gone:            {true, false, false, false, []string{event.OutcomeDialTimeout}},
		Hang:            {true, true, false, false, []string{event.OutcomeStatus}},
		Goodbye:         {true, true, false, false, []string{event.OutcomeGoodbye, event.OutcomeReset}},
		WrongDigest:     {false, true, false, false, nil},
		WrongStatus:     {true, true, false, false, []string{event.OutcomeWrongNetwork, event.OutcomeGoodbye}},
		NoEth2:          {false, false, false, false, nil},
		BadEth2:         {false, true, true, true, nil},
		ErrorCodes:      {true, true, false, true, []string{event.OutcomeStatus}},
		Garbage:         {true, true, false, true, []string{event.OutcomeStatus, event.OutcomeProtocol}},
		Oversize:        {true, true, false, true, []string{event.OutcomeStatus, event.OutcomeProtocol}},
		OldProtocols:    good,
		MalformedENR:    good,
		MalformedTopics: good,
		Flood:           {true, true, true, false, []string{event.OutcomeOK, event.OutcomeProtocol}},
		Slow:            good,
		Quota:           good,
		NoGossip:        {true, true, true, false, ok},
		NoAgent:         good,
		Unlisted:        {true, false, true, true, ok},
		Redials:         good,
		NoPort:          {true, false, true, true, ok},
		Unaware:         {true, true, true, true, []string{event.OutcomeOK, event.OutcomeWrongNetwork, event.OutcomeGoodbye}},

		HostileSilent:  good,
		HostileSlow:    {true, true, true, true, slow},
		HostileDead:    {true, false, false, false, []string{event.OutcomeRefused, event.OutcomeDialTimeout, event.OutcomeUnreachable}},
		HostileVictim:  {true, false, false, false, []string{event.OutcomeRefused, event.OutcomeDialTimeout, event.OutcomeUnreachable}},
		HostileFlap:    {true, true, true, true, []string{event.OutcomeOK, event.OutcomeProtocol}},
		HostileCustody: good,
		HostileClaim:   good,
		HostileText:    {true, true, true, true, []string{event.OutcomeOK, event.OutcomeStatus, event.OutcomeMetadata}},
		HostileNFD:     good,
		HostileStreams: {true, true, false, false, []string{event.OutcomeProtocol, event.OutcomeReset}},
		HostileTopics:  good,
	}
}

// Personas lists the personas of nodes that mean no harm, Healthy first, the rest in
// alphabetical order.
func Personas() []Persona {
	var list []Persona
	for p := range traits() {
		if p != Healthy && !p.hostile() {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return append([]Persona{Healthy}, list...)
}

// Mix is the share of nodes, 0 to 1, that has each persona; the rest is healthy.
type Mix map[Persona]float64

// HealthyMix has no faults.
func HealthyMix() Mix { return Mix{} }

// MixedMix is a network as bad as a real one: 15 % dead addresses, 10 % gone, 10 %
// that say goodbye at once, 5 % on another network, 5 % without eth2, and 17 %
// with the other faults in equal parts. The others are no faults.
func MixedMix() Mix {
	m := Mix{Dead: 0.15, Gone: 0.10, Goodbye: 0.10, WrongDigest: 0.05, NoEth2: 0.05}
	var rest []Persona
	for _, p := range Personas() {
		if _, named := m[p]; !named && !slices.Contains([]Persona{Healthy, Unlisted, Quota, Redials, NoPort, Unaware}, p) {
			rest = append(rest, p)
		}
	}
	for _, p := range rest {
		m[p] = 0.17 / float64(len(rest))
	}
	return m
}

// ParseMix reads the name of a preset (healthy, mixed, hostile, or hostile=S with the share of
// hostile nodes) or a list of personas with their shares, such as "quota=1" or
// "dead=0.2,redials=0.1". Without a share it is that of all nodes: "quota". Errors contain
// the text. Shares of personas are checked by Config.Check.
func ParseMix(text string) (Mix, error) {
	switch preset, share, given := strings.Cut(text, "="); {
	case text == "healthy":
		return HealthyMix(), nil
	case text == "mixed":
		return MixedMix(), nil
	case text == "hostile":
		return HostileMix(DefaultHostileShare), nil
	case preset == "hostile" && given:
		if s, err := strconv.ParseFloat(share, 64); err == nil && s > 0 && s <= 1 {
			return HostileMix(s), nil
		}
		return nil, fmt.Errorf("%q: want a share of hostile nodes above 0, at most 1", text)
	}
	m := Mix{}
	for item := range strings.SplitSeq(text, ",") {
		name, number, given := strings.Cut(item, "=")
		p, share := Persona(name), 1.0
		if _, known := traits()[p]; !known {
			return nil, fmt.Errorf("%q: want healthy or mixed, or hostile, or personas with their shares, such as quota=0.5,dead=0.1, of %s", text, personaNames())
		}
		if _, twice := m[p]; twice {
			return nil, fmt.Errorf("%q: %s is there twice", text, p)
		}
		if given {
			var err error
			if share, err = strconv.ParseFloat(number, 64); err != nil {
				return nil, fmt.Errorf("%q: %q is not a share of 0 to 1", text, number)
			}
		}
		m[p] = share
	}
	return m, nil
}

// personaNames is the list of all personas, for messages.
func personaNames() string {
	var names []string
	for _, p := range append(Personas(), HostilePersonas()...) {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

func (m Mix) validate() error {
	known := traits()
	sum := 0.0
	for p, share := range m {
		if _, ok := known[p]; !ok {
			return &ConfigError{"Faults", p, "no such persona"}
		}
		if !(share >= 0 && share <= 1) { // NaN is neither
			return &ConfigError{"Faults", fmt.Sprintf("%s=%v", p, share), "want a share of 0 to 1"}
		}
		sum += share
	}
	if sum > 1.000001 {
		return &ConfigError{"Faults", sum, "the shares sum to more than 1"}
	}
	return nil
}

// assign gives each of n nodes a persona: every persona with a positive share has
// at least one node when there is room, so that small networks show each fault.
// The first healthy nodes are always healthy.
func (m Mix) assign(n, healthy int, shuffle func(n int, swap func(i, j int))) []Persona {
	var faults []Persona
	for _, p := range append(Personas(), HostilePersonas()...) {
		if share := m[p]; share > 0 && p != Healthy {
			count := max(1, int(share*float64(n)+0.5))
			for range count {
				faults = append(faults, p)
			}
		}
	}
	out := make([]Persona, n)
	for i := range out {
		out[i] = Healthy
	}
	if n <= healthy {
		return out
	}
	slots := make([]int, n-healthy)
	for i := range slots {
		slots[i] = healthy + i
	}
	shuffle(len(slots), func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
	if len(faults) > len(slots) {
		shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		faults = faults[:len(slots)]
	}
	for i, p := range faults {
		out[slots[i]] = p
	}
	return out
}
