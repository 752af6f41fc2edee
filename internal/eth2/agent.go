package eth2

import "strings"

// ClientKind names a consensus client in lower case.
type ClientKind string

// Kinds of client.
const (
	ClientLighthouse ClientKind = "lighthouse"
	ClientPrysm      ClientKind = "prysm"
	ClientTeku       ClientKind = "teku"
	ClientNimbus     ClientKind = "nimbus"
	ClientLodestar   ClientKind = "lodestar"
	ClientGrandine   ClientKind = "grandine"
	// ClientErigon is Erigon's built-in client, Caplin.
	ClientErigon ClientKind = "erigon"
	// ClientCharon is middleware of distributed validators: no beacon node of its own.
	ClientCharon ClientKind = "charon"
	// ClientValtrack is another sentry of this program: no beacon node.
	ClientValtrack ClientKind = "valtrack"
	// ClientUnknown is everything else, bare libp2p agents of several clients among them.
	ClientUnknown ClientKind = "unknown"
)

// Client is what an agent string says about a node. Version, OS and Arch are empty where
// it does not say them, and always for ClientUnknown.
type Client struct {
	Kind ClientKind `json:"client"`
	// Version is as sent, with a "v" and a commit if it has them:
	// "v5.1.3-3058b96". See Release.
	Version string `json:"version"`
	// OS is linux, macos, windows or freebsd.
	OS string `json:"os"`
	// Arch is x86_64, aarch64, x86, arm, riscv64, ppc64le or s390x.
	Arch string `json:"arch"`
}

const (
	// maxAgent bounds the part of an agent string that is parsed, in bytes.
	maxAgent = 256
	// maxVersion bounds Client.Version in bytes; anything longer is not a version.
	maxVersion = 64
)

// agentNames maps the name in an agent string, in lower case, to the client.
var agentNames = map[string]ClientKind{
	"lighthouse":         ClientLighthouse,
	"prysm":              ClientPrysm,
	"teku":               ClientTeku,
	"nimbus":             ClientNimbus,
	"nimbus-eth2":        ClientNimbus,
	"nimbus_beacon_node": ClientNimbus,
	"lodestar":           ClientLodestar,
	jsLibrary:            ClientLodestar,
	"grandine":           ClientGrandine,
	"erigon":             ClientErigon,
	"caplin":             ClientErigon,
	"charon":             ClientCharon,
	"obolnetwork-charon": ClientCharon,
	"valtrack":           ClientValtrack,
}

// jsLibrary is the library's own agent, which Lodestar sends when it sets none (Lighthouse
// peer_manager/peerdb/client.rs reads it so too). What follows is not Lodestar's version.
const jsLibrary = "js-libp2p"

// agentOwners come before the name in agents made from a repository's path.
var agentOwners = map[string]bool{
	"github.com": true, "offchainlabs": true, "prysmaticlabs": true, "sigp": true, "status-im": true,
	"consensys": true, "chainsafe": true, "grandinetech": true, "erigontech": true, "ledgerwatch": true,
	"obolnetwork": true,
}

// ParseAgent reads the agent string of libp2p identify, which can be any bytes.
// Clients send "Name/Version/OS-Arch" with variations: Prysm a commit in the third
// place, Teku the operating system first and a Java runtime after it, Nimbus its
// name alone, others "Name-Version", a repository's path, or a library after a space.
func ParseAgent(agent string) Client {
	agent = agent[:min(len(agent), maxAgent)]
	agent, _, _ = strings.Cut(agent, " (+") // whom to ask, as crawlers say it
	parts := strings.FieldsFunc(agent, func(r rune) bool { return r == '/' || r == ' ' })
	for len(parts) > 0 && agentOwners[strings.ToLower(parts[0])] {
		parts = parts[1:]
	}
	if len(parts) == 0 {
		return Client{Kind: ClientUnknown}
	}
	name, rest := strings.ToLower(parts[0]), parts[1:]
	kind, ok := agentNames[name]
	if before, after, cut := strings.Cut(parts[0], "-"); !ok && cut && isVersion(after) {
		kind, ok = agentNames[strings.ToLower(before)]
		rest = append([]string{after}, rest...)
	}
	switch {
	case !ok:
		return Client{Kind: ClientUnknown}
	case name == jsLibrary:
		return Client{Kind: kind}
	}
	c := Client{Kind: kind}
	// The name is repeated in "erigon/caplin" and in "teku/teku/v21.11.0".
	for len(rest) > 0 && agentNames[strings.ToLower(rest[0])] == kind {
		rest = rest[1:]
	}
	if len(rest) > 0 && isVersion(rest[0]) {
		c.Version, rest = moduleVersion(rest[0]), rest[1:]
	}
	for _, part := range rest {
		if os, arch, ok := parsePlatform(part); ok {
			c.OS, c.Arch = os, arch
			break
		}
	}
	return c
}

// moduleVersion is the version in "v7@v7.0.1", as the path of a Go module ends; "v7" where
// the build has none.
func moduleVersion(s string) string {
	major, version, ok := strings.Cut(s, "@")
	if ok && isVersion(version) {
		return version
	}
	return major
}

// Release is the version without its "v" and without the commit that Lighthouse,
// Grandine and Erigon append: "5.1.3" for "v5.1.3-3058b96+", "7.0.0-beta.1" for
// "v7.0.0-beta.1-abcdef0".
func (c Client) Release() string {
	v := strings.TrimLeft(c.Version, "vV")
	if i := strings.LastIndexByte(v, '-'); i > 0 && isCommit(strings.TrimRight(v[i+1:], "+")) {
		return v[:i]
	}
	return v
}

// isVersion accepts a digit, with or without a "v" before it, followed by printable
// ASCII without spaces, unless it is an address: versions are published. "Unknown", which
// Prysm builds send, is not a version.
func isVersion(s string) bool {
	if len(s) > maxVersion || HasAddress(s) {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return startsWithDigit(strings.TrimPrefix(strings.ToLower(s), "v"))
}

// isCommit accepts 6 to 40 hex digits, with the "g" of git describe or without.
func isCommit(s string) bool {
	s = strings.TrimPrefix(s, "g")
	return len(s) >= 6 && len(s) <= 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// parsePlatform reads "x86_64-linux" and "linux-x86_64" alike.
func parsePlatform(s string) (os, arch string, ok bool) {
	first, second, ok := strings.Cut(strings.ToLower(s), "-")
	if !ok {
		return "", "", false
	}
	if os, arch = osName(first), archName(second); os != "" && arch != "" {
		return os, arch, true
	}
	os, arch = osName(second), archName(first)
	return os, arch, os != "" && arch != ""
}

func osName(s string) string {
	return map[string]string{
		"linux": "linux", "windows": "windows", "freebsd": "freebsd",
		"macos": "macos", "darwin": "macos", "osx": "macos", "macosx": "macos",
	}[s]
}

func archName(s string) string {
	return map[string]string{
		"x86_64": "x86_64", "amd64": "x86_64", "x64": "x86_64",
		"aarch64": "aarch64", "arm64": "aarch64", "aarch_64": "aarch64",
		"x86": "x86", "i386": "x86", "arm": "arm", "armv7": "arm", "arm_32": "arm",
		"riscv64": "riscv64", "ppc64le": "ppc64le", "s390x": "s390x",
	}[s]
}
