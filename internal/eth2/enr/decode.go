package enr

import (
	"errors"
	"fmt"
	"net/netip"

	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/chainbound/valtrack/internal/eth2"
)

// entry decodes the value of one key, without its RLP header, into a record. A
// decoder that fails leaves the record unchanged.
type entry struct {
	key    string
	decode func(r *Record, value []byte) error
}

// entries are the keys we read, in the order in which their errors are listed:
// EIP-778, consensus-specs phase0/p2p-interface.md (eth2, attnets),
// altair/p2p-interface.md (syncnets), fulu/p2p-interface.md (cgc, nfd), and the
// clients' quic and quic6.
func entries() []entry {
	return []entry{
		{"secp256k1", decodeKey},
		{"ip", func(r *Record, v []byte) error { return decodeIP(&r.IP4, v, 4) }},
		{"ip6", func(r *Record, v []byte) error { return decodeIP(&r.IP6, v, 16) }},
		{"udp", func(r *Record, v []byte) error { return decodePort(&r.UDP, v) }},
		{"tcp", func(r *Record, v []byte) error { return decodePort(&r.TCP, v) }},
		{"quic", func(r *Record, v []byte) error { return decodePort(&r.QUIC, v) }},
		{"udp6", func(r *Record, v []byte) error { return decodePort(&r.UDP6, v) }},
		{"tcp6", func(r *Record, v []byte) error { return decodePort(&r.TCP6, v) }},
		{"quic6", func(r *Record, v []byte) error { return decodePort(&r.QUIC6, v) }},
		{"eth2", decodeEth2},
		{"attnets", decodeAttnets},
		{"syncnets", decodeSyncnets},
		{"cgc", decodeCustodyGroupCount},
		{"nfd", decodeNextForkDigest},
	}
}

// loader gives a record's entries: *enode.Node or *gethenr.Record.
type loader interface {
	Load(e gethenr.Entry) error
}

// rawEntry is the byte string under a key. An RLP list, or a string in a form
// that is not the shortest, is an error.
func rawEntry(src loader, key string) (value []byte, present bool, err error) {
	var raw rlp.RawValue
	if err := src.Load(gethenr.WithEntry(key, &raw)); gethenr.IsNotFound(err) {
		return nil, false, nil
	} else if err != nil {
		return nil, true, errors.Unwrap(err)
	}
	value, rest, err := rlp.SplitString(raw)
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes after the value")
	}
	return value, true, err
}

func decodeKey(r *Record, v []byte) error {
	id, err := PeerIDFromKey(v)
	if err != nil {
		return err
	}
	r.PeerID = id
	return nil
}

func decodeIP(dst *netip.Addr, v []byte, size int) error {
	if len(v) != size {
		return sizeError(v, size)
	}
	*dst, _ = netip.AddrFromSlice(v)
	return nil
}

func decodePort(dst *uint16, v []byte) error {
	n, err := decodeUint(v)
	if err != nil {
		return err
	}
	if n > 0xffff {
		return fmt.Errorf("port %d is over 65535", n)
	}
	*dst = uint16(n)
	return nil
}

func decodeEth2(r *Record, v []byte) error {
	var id eth2.ENRForkID
	if err := id.UnmarshalSSZ(v); err != nil {
		return err
	}
	r.Eth2 = &id
	return nil
}

func decodeAttnets(r *Record, v []byte) error {
	if len(v) != len(eth2.Attnets{}) {
		return sizeError(v, len(eth2.Attnets{}))
	}
	a := eth2.Attnets(v)
	r.Attnets = &a
	return nil
}

func decodeSyncnets(r *Record, v []byte) error {
	if len(v) != 1 {
		return sizeError(v, 1)
	}
	if v[0] >= 1<<eth2.SyncCommitteeSubnetCount {
		return fmt.Errorf("%#02x has bits above the fourth", v[0])
	}
	s := eth2.Syncnets(v[0])
	r.Syncnets = &s
	return nil
}

func decodeCustodyGroupCount(r *Record, v []byte) error {
	n, err := decodeUint(v)
	if err != nil {
		return err
	}
	r.CustodyGroupCount = &n
	return nil
}

func decodeNextForkDigest(r *Record, v []byte) error {
	if len(v) != len(eth2.ForkDigest{}) {
		return sizeError(v, len(eth2.ForkDigest{}))
	}
	d := eth2.ForkDigest(v)
	r.NFD = &d
	return nil
}

// decodeUint reads a big-endian number of at most eight bytes without leading
// zeros; no byte at all is 0.
func decodeUint(v []byte) (n uint64, err error) {
	if len(v) > 8 {
		return 0, fmt.Errorf("number of %d bytes: want at most 8", len(v))
	}
	if len(v) > 0 && v[0] == 0 {
		return 0, fmt.Errorf("number %#x has a leading zero byte", v)
	}
	for _, b := range v {
		n = n<<8 | uint64(b)
	}
	return n, nil
}

func sizeError(v []byte, want int) error {
	return fmt.Errorf("%d bytes: want %d", len(v), want)
}
