package eth2_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

func TestParseAgent(t *testing.T) {
	for agent, want := range map[string]eth2.Client{
		"valtrack/v1.0.0 (+https://example.org/crawl/linux-amd64)": {Kind: eth2.ClientValtrack, Version: "v1.0.0"},
		"valtrack/devel (+crawl@example.org)":                      {Kind: eth2.ClientValtrack},

		"Lighthouse/v5.1.3-3058b96/x86_64-linux":                                  {Kind: eth2.ClientLighthouse, Version: "v5.1.3-3058b96", OS: "linux", Arch: "x86_64"},
		"Lighthouse/v5.1.3-3058b96+/x86_64-linux":                                 {Kind: eth2.ClientLighthouse, Version: "v5.1.3-3058b96+", OS: "linux", Arch: "x86_64"},
		"Lighthouse/v5.1.3/aarch64-macos":                                         {Kind: eth2.ClientLighthouse, Version: "v5.1.3", OS: "macos", Arch: "aarch64"},
		"Lighthouse/v5.1.3-3058b96/x86_64-windows":                                {Kind: eth2.ClientLighthouse, Version: "v5.1.3-3058b96", OS: "windows", Arch: "x86_64"},
		"Prysm/v5.0.3/38f208d70dc95b12c08403f5c72009aaa10dfe2f":                   {Kind: eth2.ClientPrysm, Version: "v5.0.3"},
		"Prysm/Unknown/Local build":                                               {Kind: eth2.ClientPrysm},
		"Prysm/v7.1.0/38f208d70dc95b12c08403f5c72009aaa10dfe2f/linux-amd64":       {Kind: eth2.ClientPrysm, Version: "v7.1.0", OS: "linux", Arch: "x86_64"},
		"teku/v25.1.0/linux-x86_64/-eclipseadoptium-openjdk64bitservervm-java-21": {Kind: eth2.ClientTeku, Version: "v25.1.0", OS: "linux", Arch: "x86_64"},
		"teku/teku/v21.11.0+62-g501ffa7/linux-x86_64/corretto-java-17":            {Kind: eth2.ClientTeku, Version: "v21.11.0+62-g501ffa7", OS: "linux", Arch: "x86_64"},
		"teku/v25.1.0/osx-aarch_64/-eclipseadoptium-openjdk64bitservervm-java-21": {Kind: eth2.ClientTeku, Version: "v25.1.0", OS: "macos", Arch: "aarch64"},
		"nimbus":                                         {Kind: eth2.ClientNimbus},
		"Nimbus/v24.9.0-c0dd5e/linux-amd64":              {Kind: eth2.ClientNimbus, Version: "v24.9.0-c0dd5e", OS: "linux", Arch: "x86_64"},
		"lodestar/v1.18.1":                               {Kind: eth2.ClientLodestar, Version: "v1.18.1"},
		"Lodestar/v1.44.0/6f4d1c2":                       {Kind: eth2.ClientLodestar, Version: "v1.44.0"},
		"Grandine/2.0.0/x86_64-linux":                    {Kind: eth2.ClientGrandine, Version: "2.0.0", OS: "linux", Arch: "x86_64"},
		"Grandine/2.0.5-70a5c7ea/aarch64-linux":          {Kind: eth2.ClientGrandine, Version: "2.0.5-70a5c7ea", OS: "linux", Arch: "aarch64"},
		"erigon/caplin":                                  {Kind: eth2.ClientErigon},
		"erigon/caplin/3.6.0-ecc2ad99":                   {Kind: eth2.ClientErigon, Version: "3.6.0-ecc2ad99"},
		"erigon/caplin/v3.3.9/linux-amd64/go1.25":        {Kind: eth2.ClientErigon, Version: "v3.3.9", OS: "linux", Arch: "x86_64"},
		"Caplin/v3.2.1/linux-amd64":                      {Kind: eth2.ClientErigon, Version: "v3.2.1", OS: "linux", Arch: "x86_64"},
		"LIGHTHOUSE/V8.0.0/X86_64-LINUX":                 {Kind: eth2.ClientLighthouse, Version: "V8.0.0", OS: "linux", Arch: "x86_64"},
		" Lighthouse/v8.0.0 ":                            {Kind: eth2.ClientLighthouse, Version: "v8.0.0"},
		"rust-libp2p/0.44.1":                             {Kind: eth2.ClientUnknown},
		"js-libp2p/2.1.0":                                {Kind: eth2.ClientLodestar}, // the library's version
		"js-libp2p/0.36.2":                               {Kind: eth2.ClientLodestar},
		"js-libp2p/2.1.0 UserAgent=v22.11.0":             {Kind: eth2.ClientLodestar},
		"lodestar/v1.22.0 js-libp2p/2.1.0":               {Kind: eth2.ClientLodestar, Version: "v1.22.0"},
		"Grandine-0.2.1":                                 {Kind: eth2.ClientGrandine, Version: "0.2.1"},
		"grandine-v0.2.1-abcdef0/x86_64-linux":           {Kind: eth2.ClientGrandine, Version: "v0.2.1-abcdef0", OS: "linux", Arch: "x86_64"},
		"OffchainLabs/prysm/v7.0.0/38f208d70dc9":         {Kind: eth2.ClientPrysm, Version: "v7.0.0"},
		"offchainlabs/PRYSM/V7.0.0":                      {Kind: eth2.ClientPrysm, Version: "V7.0.0"},
		"github.com/prysmaticlabs/prysm/v5@v5.1.0":       {Kind: eth2.ClientPrysm, Version: "v5.1.0"},
		"github.com/OffchainLabs/prysm/v7@(devel)":       {Kind: eth2.ClientPrysm, Version: "v7"},
		"nimbus_beacon_node/v26.1.0-2b3c4d5/linux-amd64": {Kind: eth2.ClientNimbus, Version: "v26.1.0-2b3c4d5", OS: "linux", Arch: "x86_64"},
		"NIMBUS_BEACON_NODE":                             {Kind: eth2.ClientNimbus},
		"Charon":                                         {Kind: eth2.ClientCharon},
		"obolnetwork-charon/v1.2.0":                      {Kind: eth2.ClientCharon, Version: "v1.2.0"},
		"github.com/libp2p/go-libp2p":                    {Kind: eth2.ClientUnknown},
		"github.com":                                     {Kind: eth2.ClientUnknown},
		"lighthouse-keeper/v1":                           {Kind: eth2.ClientUnknown},
		"valtrack/v1.0.0":                                {Kind: eth2.ClientValtrack, Version: "v1.0.0"},
		"lighthouses/v1":                                 {Kind: eth2.ClientUnknown},
		"":                                               {Kind: eth2.ClientUnknown},
		"/":                                              {Kind: eth2.ClientUnknown},
		"///":                                            {Kind: eth2.ClientUnknown},
		"\xff\xfe/v1.0.0":                                {Kind: eth2.ClientUnknown},
		"prysm/v1\x00\x1b[31m/x86_64-linux":              {Kind: eth2.ClientPrysm, OS: "linux", Arch: "x86_64"},
		"Lighthouse/203.0.113.7:9000/x86_64-linux":       {Kind: eth2.ClientLighthouse, OS: "linux", Arch: "x86_64"}, // an address
		"Lighthouse/v203.0.113.7/x86_64-linux":           {Kind: eth2.ClientLighthouse, OS: "linux", Arch: "x86_64"},
		"Lighthouse/2001:db8::7/x86_64-linux":            {Kind: eth2.ClientLighthouse, OS: "linux", Arch: "x86_64"},
		"Grandine-203.0.113.7":                           {Kind: eth2.ClientUnknown},
		"prysm/v5@203.0.113.7":                           {Kind: eth2.ClientPrysm},
		"prysm/v" + strings.Repeat("1", 1<<20):           {Kind: eth2.ClientPrysm},
		"teku" + strings.Repeat("/teku", 1<<20):          {Kind: eth2.ClientTeku},
	} {
		if diff := cmp.Diff(want, eth2.ParseAgent(agent)); diff != "" {
			t.Errorf("%.80q (-want +got):\n%s", agent, diff)
		}
	}
}

func TestRelease(t *testing.T) {
	for version, want := range map[string]string{
		"":                      "",
		"v5.1.3":                "5.1.3",
		"v5.1.3-3058b96":        "5.1.3",
		"v5.1.3-3058b96+":       "5.1.3",
		"v7.0.0-beta.3-abcdef1": "7.0.0-beta.3",
		"v7.0.0-beta.3":         "7.0.0-beta.3",
		"2.0.5-70a5c7ea":        "2.0.5",
		"v21.11.0+62-g501ffa7":  "21.11.0+62",
		"-abcdef1":              "-abcdef1",
	} {
		if got := (eth2.Client{Version: version}).Release(); got != want {
			t.Errorf("release of %q: %q, want %q", version, got, want)
		}
	}
}

func TestSampleAgents(t *testing.T) {
	counts := make(map[eth2.ClientKind]int)
	for _, row := range samplePeers(t) {
		counts[eth2.ParseAgent(row[2]).Kind]++
	}
	want := map[eth2.ClientKind]int{
		eth2.ClientLighthouse: 113, eth2.ClientPrysm: 36, eth2.ClientNimbus: 9, eth2.ClientLodestar: 7, eth2.ClientUnknown: 8,
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParseAgent(f *testing.F) {
	f.Add("Lighthouse/v5.1.3-3058b96/x86_64-linux")
	f.Add("teku/teku/v21.11.0+62-g501ffa7/linux-x86_64/corretto-java-17")
	f.Add("erigon/caplin/v3.3.9/linux-amd64/go1.25")
	f.Add("Prysm/Unknown/Local build")
	f.Add("OffchainLabs/prysm/v7@v7.0.0 js-libp2p/2")
	f.Add("Grandine-0.2.1-")
	f.Add("Lighthouse/203.0.113.7:9000/x86_64-linux")
	f.Fuzz(func(t *testing.T, agent string) {
		c := eth2.ParseAgent(agent)
		if len(c.Version) > 64 || strings.Trim(c.Version, "!\"#$%&'()*+,-.0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~") != "" {
			t.Errorf("%q: version %q", agent, c.Version)
		}
		if eth2.HasAddress(c.Version) || eth2.HasAddress(c.Release()) {
			t.Errorf("%q: version %q has an address", agent, c.Version)
		}
		if c.Kind == eth2.ClientUnknown && c != (eth2.Client{Kind: eth2.ClientUnknown}) {
			t.Errorf("%q: unknown, but %+v", agent, c)
		}
		if (c.OS == "") != (c.Arch == "") {
			t.Errorf("%q: %+v", agent, c)
		}
		if len(c.Release()) > len(c.Version) {
			t.Errorf("%q: release %q", agent, c.Release())
		}
	})
}
