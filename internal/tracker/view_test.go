package tracker

import (
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
)

// What a version showed that failed its tests explains no estimate, neither while the
// peer runs it nor later.
func TestWhyTrustsAsTheEstimateDoes(t *testing.T) {
	dir, now := t.TempDir(), start.Add(20*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	for i := range 5 {
		for _, e := range c.visit(0, start.Add(time.Duration(1+2*i)*time.Hour), 3) {
			tr.Add(e)
		}
	}
	flush(t, tr, 0)
	v, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	p := *v.Peer(peerID(0))
	believed := v.Why(&p)
	distrusted := *p.Estimate
	distrusted.Trust = estimate.TrustCustody
	p.Estimate = &distrusted
	if why := v.Why(&p); why.On != 0 || why.Subnets.High-why.Subnets.Low <= 2*(believed.Subnets.High-believed.Subnets.Low) {
		t.Errorf("subnets alone of a version that is not believed: %+v of %d filled cells; believed: %+v", why.Subnets, why.On, believed.Subnets)
	}
	p.Client.Version = "v9.0.0" // since updated
	v.Learned.Versions[0].Trust = estimate.TrustCustody
	if why := v.Why(&p); why.On != 0 {
		t.Errorf("%d filled cells of the version before", why.On)
	}
}
