package eth2_test

import (
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

func TestHasAddress(t *testing.T) {
	for _, text := range []string{
		"203.0.113.7", "v203.0.113.7", "x 203.0.113.7:9000", "Lighthouse/203.0.113.7:9000/x86_64-linux", "ec2-203-0-113-7.compute.example", "2001:db8::1", "[2001:DB8::1]:9000", "::1",
		"host.example.org:9000", "enr:-Lm4Q", "ENR:-x", "/ip4/45.1.2.3/tcp/9000", "/dns4/host.example.org", "/DNSADDR/host", "teku/udp",
	} {
		if !eth2.HasAddress(text) {
			t.Errorf("%q has no address", text)
		}
	}
	for _, text := range []string{
		"", "/", "lighthouse", "8.0.1", "Lighthouse/v5.1.3-3058b96/x86_64-linux", "7.0.0-beta.1", "21.11.0+62-g501ffa7", "v2024-10-01", "tcp", "quic: yes", "a:b",
		"teku/v25.1.0/linux-x86_64/-eclipseadoptium-openjdk64bitservervm-java-21", "Prysm/v7.1.0/38f208d70dc95b12c08403f5c72009aaa10dfe2f/linux-amd64", "js-libp2p/2.1.0 UserAgent=v22.11.0",
	} {
		if eth2.HasAddress(text) {
			t.Errorf("%q has an address", text)
		}
	}
}
