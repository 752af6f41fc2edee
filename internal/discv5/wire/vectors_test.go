package wire

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/hex"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// The vectors of discv5-wire-test-vectors.md, of version 5.1.
const (
	keyA         = "eef77acb6c6a6eebc5b363a475ac583ec7eccdb42b6481424c60f59aa326547f"
	keyB         = "66fb62bfbd66b9177a138c1e5cddbe4f7c30c343e94e68df8769459cb1cde628"
	ephemeralKey = "0288ef00023598499cb6c940146d050d2b1fb914198c327f76aad590bead68b6"

	// The challenge data of a WHOAREYOU without a record, and with seq 1.
	challenge0 = "000000000000000000000000000000006469736376350001010102030405060708090a0b0c00180102030405060708090a0b0c0d0e0f100000000000000000"
	challenge1 = "000000000000000000000000000000006469736376350001010102030405060708090a0b0c00180102030405060708090a0b0c0d0e0f100000000000000001"

	pingPacket = `00000000000000000000000000000000088b3d4342774649325f313964a39e55
		ea96c005ad52be8c7560413a7008f16c9e6d2f43bbea8814a546b7409ce783d3
		4c4f53245d08dab84102ed931f66d1492acb308fa1c6715b9d139b81acbdcc`
	whoareyouPacket = `00000000000000000000000000000000088b3d434277464933a1ccc59f5967ad
		1d6035f15e528627dde75cd68292f9e6c27d6b66c8100a873fcbaed4e16b8d`
	handshakePacket = `00000000000000000000000000000000088b3d4342774649305f313964a39e55
		ea96c005ad521d8c7560413a7008f16c9e6d2f43bbea8814a546b7409ce783d3
		4c4f53245d08da4bb252012b2cba3f4f374a90a75cff91f142fa9be3e0a5f3ef
		268ccb9065aeecfd67a999e7fdc137e062b2ec4a0eb92947f0d9a74bfbf44dfb
		a776b21301f8b65efd5796706adff216ab862a9186875f9494150c4ae06fa4d1
		f0396c93f215fa4ef524f1eadf5f0f4126b79336671cbcf7a885b1f8bd2a5d83
		9cf8`
	handshakeRecordPacket = `00000000000000000000000000000000088b3d4342774649305f313964a39e55
		ea96c005ad539c8c7560413a7008f16c9e6d2f43bbea8814a546b7409ce783d3
		4c4f53245d08da4bb23698868350aaad22e3ab8dd034f548a1c43cd246be9856
		2fafa0a1fa86d8e7a3b95ae78cc2b988ded6a5b59eb83ad58097252188b902b2
		1481e30e5e285f19735796706adff216ab862a9186875f9494150c4ae06fa4d1
		f0396c93f215fa4ef524e0ed04c3c21e39b1868e1ca8105e585ec17315e755e6
		cfc4dd6cb7fd8e1a1f55e49b4b5eb024221482105346f3c82b15fdaae36a3bb1
		2a494683b4a3c7f2ae41306252fed84785e2bbff3b022812d0882f06978df84a
		80d443972213342d04b9048fc3b1d5fcb1df0f822152eced6da4d3f6df27e70e
		4539717307a0208cd208d65093ccab5aa596a34d7511401987662d8cf62b1394
		71`
)

// vectorNonce is the nonce of the packets from A.
var vectorNonce = Nonce(bytes.Repeat([]byte{0xff}, 12))

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func privateKey(t testing.TB, text string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := crypto.HexToECDSA(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCryptoVectors(t *testing.T) {
	key := privateKey(t, "fb757dc581730490a1d7a00deea65e9b1936924caaea8f44d476014856b68736")
	compressed := unhex(t, "039961e4c2356d61bedb83052c115d311acb3a96f5777296dcf297351130266231")
	public, err := crypto.DecompressPubkey(compressed)
	if err != nil {
		t.Fatal(err)
	}
	shared := ecdh(key, public)
	if want := unhex(t, "033b11a2a1f214567e1537ce5e509ffd9b21373247f2a3ff6841f4976f53165e7e"); !bytes.Equal(shared[:], want) {
		t.Errorf("shared secret %x, want %x", shared, want)
	}
	a, b := privateKey(t, keyA).PublicKey, privateKey(t, keyB).PublicKey
	idA, idB := enode.PubkeyToIDV4(&a), enode.PubkeyToIDV4(&b)
	k, err := deriveKeys(key, &b, idA, idB, unhex(t, challenge0))
	want := keys{[16]byte(unhex(t, "dccc82d81bd610f4f76d3ebe97a40571")), [16]byte(unhex(t, "ac74bb8773749920b0d3a8881c173ec5"))}
	if err != nil || k != want {
		t.Errorf("keys %x, want %x, error %v", k, want, err)
	}
	signature, err := signID(key, unhex(t, challenge0), compressed, idB)
	if want := unhex(t, "94852a1e2318c4e5e9d422c98eaf19d1d90d876b29cd06ca7cb7546d0fff7b484fe86c09a064fe72bdbef73ba8e9c34df0cd2b53e9d65528c2c7f336d5dfc6e6"); err != nil || !bytes.Equal(signature, want) {
		t.Errorf("id signature %x, want %x, error %v", signature, want, err)
	}
	sealed := gcm([16]byte(unhex(t, "9f2d77db7004bf8a1a85107ac686990b"))).Seal(nil, unhex(t, "27b5af763c446acd2749fe8e"), unhex(t, "01c20101"),
		unhex(t, "93a7400fa0d6a694ebc24d5cf570f65d04215b6ac00757875e3f3a5f42107903"))
	if want := unhex(t, "a5d12a2d94b8ccb3ba55558229867dc13bfa3648"); !bytes.Equal(sealed, want) {
		t.Errorf("sealed message %x, want %x", sealed, want)
	}
}

func TestPacketVectorsEncode(t *testing.T) {
	a, b := newParty(t, keyA), newParty(t, keyB)
	idA, idB := a.local.ID(), b.local.ID()
	var iv [ivSize]byte
	check := func(name, want string, got []byte, err error) {
		t.Helper()
		if err != nil || !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s: %x, error %v", name, got, err)
		}
	}
	id := []byte{0, 0, 0, 1}
	packet, err := seal(idB, [16]byte{}, vectorNonce, newHeader(iv, flagMessage, vectorNonce, idA[:]), &Ping{id, 2})
	check("ping", pingPacket, packet, err)

	packet = unhex(t, challenge0)
	mask(idB, packet)
	check("whoareyou", whoareyouPacket, packet, nil)

	// The record is left out when the other side has it.
	auth, s, err := a.codec.handshake(b.local.Node(), &Whoareyou{RecordSeq: math.MaxUint64, data: unhex(t, challenge1)}, privateKey(t, ephemeralKey))
	if err != nil {
		t.Fatal(err)
	}
	packet, err = seal(idB, s.write, vectorNonce, newHeader(iv, flagHandshake, vectorNonce, auth...), &Ping{id, 1})
	check("handshake", handshakePacket, packet, err)
}

func TestPacketVectorsDecode(t *testing.T) {
	a := newParty(t, keyA)
	peer := Peer{a.local.ID(), netip.MustParseAddrPort("127.0.0.1:9000")}
	ping := func(seq uint64) Packet {
		return Packet{From: peer.ID, Nonce: vectorNonce, Message: &Ping{[]byte{0, 0, 0, 1}, seq}}
	}
	asked := Nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	for _, tt := range []struct {
		name, packet string
		prepare      func(c *Codec)
		want         Packet
	}{
		{"ping", pingPacket, func(c *Codec) { c.begin(peer, keys{}, 0) }, ping(2)},
		{"ping of another session", pingPacket, func(c *Codec) { c.begin(peer, keys{read: [16]byte{1}}, 0) }, Packet{From: peer.ID, Nonce: vectorNonce}},
		{"ping of the session before", pingPacket, func(c *Codec) { c.begin(peer, keys{}, 0); c.begin(peer, keys{read: [16]byte{1}}, 0) }, ping(2)},
		{"whoareyou", whoareyouPacket, func(*Codec) {}, Packet{Nonce: asked, Whoareyou: &Whoareyou{asked, 0, unhex(t, challenge0)}}},
		{"handshake", handshakePacket, func(c *Codec) { c.challenges.Add(peer, &challenge{unhex(t, challenge1), a.local.Node(), time.Now()}) }, ping(1)},
		{"handshake with a record", handshakeRecordPacket, func(c *Codec) { c.challenges.Add(peer, &challenge{unhex(t, challenge0), nil, time.Now()}) }, ping(1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newParty(t, keyB).codec
			tt.prepare(c)
			got, err := c.Decode(unhex(t, tt.packet), peer.Addr)
			if handshake := strings.HasPrefix(tt.name, "handshake"); handshake && (got.Node == nil || got.Node.ID() != peer.ID) || !handshake && got.Node != nil {
				t.Errorf("node %v", got.Node)
			}
			got.Node = nil
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, error %v, want %+v", got, err, tt.want)
			}
		})
	}
}
