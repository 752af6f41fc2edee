package report

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
)

// Before the first commit nothing is known, and no option helps.
func TestForksWithoutData(t *testing.T) {
	var out strings.Builder
	if err := (Forks{}).WriteText(&out); err != nil || !strings.Contains(out.String(), "no data yet") || strings.Contains(out.String(), "--network") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestForks(t *testing.T) {
	now, next := eth2.ForkDigest{1}, eth2.ForkDigest{2}
	later := eth2.Epoch(1 << 40)
	s := &Schedule{Network: "n", Clock: eth2.Clock{Genesis: day, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}, Schedule: eth2.Schedule{Periods: []eth2.Period{
		{Name: "genesis", ForkVersion: eth2.Version{1}, Digest: now}, {Name: "next", FirstEpoch: later, ForkVersion: eth2.Version{2}, Digest: next},
	}}}
	var rows []any
	node := func(version string, d *dataset.DiscoveryRow) {
		id := fmt.Sprint("node", len(rows))
		handshake := met(id, hour(1), version, "")[0].(dataset.ValidatorRow)
		handshake.ForkDigest = now.String()
		if rows = append(rows, handshake); d != nil {
			d.ID, d.Common = id, dataset.Common{Network: "n", Timestamp: hour(1)}
			rows = append(rows, *d)
		}
	}
	version := func(v byte) *string { return ptr(eth2.Version{v}.String()) }
	node("8", &dataset.DiscoveryRow{NextForkVersion: version(2), NextForkEpoch: ptr(uint64(later)), NFD: ptr(next.String())})
	node("8", &dataset.DiscoveryRow{NextForkVersion: version(1), NextForkEpoch: ptr(uint64(eth2.FarFutureEpoch)), NFD: ptr(eth2.ForkDigest{}.String())})
	node("8", nil)
	node("7", &dataset.DiscoveryRow{NextForkVersion: version(2), NextForkEpoch: ptr(uint64(later))}) // of before nfd
	node("7", &dataset.DiscoveryRow{NextForkVersion: version(2), NextForkEpoch: ptr(uint64(later) - 1)})
	node("7", &dataset.DiscoveryRow{NextForkVersion: version(2), NextForkEpoch: ptr(uint64(later)), NFD: ptr(eth2.ForkDigest{9}.String())})
	node("7", &dataset.DiscoveryRow{})
	r := reportOf(t, dataset.Range{}, rows...)

	f := r.Forks(s)
	want := []ForkVersion{{Client: "prysm", Version: "7", Nodes: 4, Current: 4, Ready: 1, NotReady: 2, Unknown: 1}, {Client: "prysm", Version: "8", Nodes: 3, Current: 3, Ready: 1, NotReady: 1, Unknown: 1}}
	if fmt.Sprint(f.Versions) != fmt.Sprint(want) || f.Next == nil || f.Next.Digest != next.String() || f.Next.ForkVersion != "0x02000000" || f.Current != now.String() {
		t.Errorf("%+v, want %v", f, want)
	}
	var out bytes.Buffer
	if err := f.WriteText(&out); err != nil || !strings.Contains(out.String(), "2 of 7 nodes (28.6 %), 3 not ready, 2 unknown") || !strings.Contains(out.String(), "next, version 0x02000000, digest 0x02000000, ") {
		t.Errorf("%v\n%s", err, &out)
	}

	// Nobody is ready for what is not known.
	s.Periods = s.Periods[:1]
	for name, s := range map[string]*Schedule{"no schedule": nil, "no next fork": s} {
		f := r.Forks(s)
		for _, v := range f.Versions {
			if v.Unknown != v.Nodes {
				t.Errorf("%s: %+v", name, v)
			}
		}
		if len(f.Announced) != 6 || f.Next != nil {
			t.Errorf("%s: %+v", name, f)
		}
		var out bytes.Buffer
		if err := f.WriteText(&out); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "UNKNOWN") || strings.Contains(out.String(), "NOT READY") {
			t.Errorf("%s: readiness for no fork in\n%s", name, &out)
		}
		if f.Network == "" {
			continue
		}
		for _, want := range []string{
			"none is scheduled in the configuration of n", "announced 1 of 7 nodes announce that they know of no next fork, ",
			"3 announce version 0x02000000 at epoch 1099511627776, 1 announce version 0x02000000 at epoch 1099511627775, of 2 no record tells",
		} {
			if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
				t.Errorf("no %q in\n%s", want, &out)
			}
		}
	}
}

// Records that an earlier version kept have no epoch: then nothing is said about whether they know of a next fork.
func TestForksWithoutAnnouncedEpochs(t *testing.T) {
	r := remoteOf(t, func(*http.Request) (int, string) {
		return http.StatusOK, `{"data":{"epoch":7,"current_digest":"0x01000000","next":null,"versions":[{"client":"prysm","version":"7","nodes":49,"current":49,"unknown":49}],
			"announced":[{"fork_digest":"0x01000000","next_fork_version":"0x01000000","next_fork_epoch":null,"nfd":"0x00000000","nodes":48},{"fork_digest":"0x01000000","nodes":1}]},"meta":{"network":"n"}}`
	})
	f, err := r.Forks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := f.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "0 of 49") || !strings.Contains(text, "records of 48 of 49 nodes name a version without its epoch") || !strings.Contains(text, "of 1 no record tells") {
		t.Error(text)
	}
	if !strings.Contains(f.NotTold(), "epoch") {
		t.Error(f.NotTold())
	}
}

// Each release has the attachments of its nodes, with an interval around them.
func TestForksHaveTheValidatorsOfReleases(t *testing.T) {
	r := grouped(t, "prysm:6:100", "teku:4:10")
	for i, c := range r.counted {
		c.node.ClientRelease = ptr([]string{"1", "2"}[i%2])
	}
	f := r.Forks(nil)
	want := map[release]float64{{"prysm", "1"}: 300, {"prysm", "2"}: 300, {"teku", "1"}: 20, {"teku", "2"}: 20}
	for _, v := range f.Versions {
		mean := want[release{v.Client, v.Version}]
		if v.Validators == nil || *v.Validators != mean || *v.Low >= mean || *v.Low < mean/2 || *v.High <= mean || *v.High > 2*mean {
			t.Errorf("%s %s: %v [%v to %v], want %v", v.Client, v.Version, orZero(v.Validators), orZero(v.Low), orZero(v.High), mean)
		}
	}
	var out bytes.Buffer
	if err := f.WriteText(&out); err != nil || len(f.Versions) != len(want) ||
		!regexp.MustCompile(`(?m)^CLIENT +VERSION +NODES +ON THE CURRENT FORK +ATTACHMENTS +90 %$`).MatchString(out.String()) ||
		!regexp.MustCompile(`(?m)^prysm +1 +3 +- +300 +2[0-9]{2} to 3[0-9]{2}$`).MatchString(out.String()) {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Releases are summed by client where a client has several.
func TestForksByClient(t *testing.T) {
	f := Forks{Network: "n", Next: &NextFork{Name: "x"}, Versions: []ForkVersion{
		{Client: "teku", Version: "1", Nodes: 3, Current: 3, Ready: 2, NotReady: 1},
		{Client: "prysm", Version: "1", Nodes: 2, Current: 2, Ready: 2}, {Client: "prysm", Version: "2", Nodes: 4, Current: 3, NotReady: 3, Unknown: 1},
	}}
	var out bytes.Buffer
	if err := f.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`(?m)^prysm +6 +5 +2 +3 +1$`, `(?m)^teku +3 +3 +2 +1 +0$`, `(?m)^prysm +2 +4 +3 +0 +3 +1$`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %s in\n%s", want, &out)
		}
	}
	f.Versions, out = f.Versions[:2], bytes.Buffer{}
	if err := f.WriteText(&out); err != nil || strings.Count(out.String(), "CLIENT") != 1 {
		t.Errorf("%v: one release each is one table\n%s", err, &out)
	}
}
