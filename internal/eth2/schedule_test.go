package eth2_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

// The schedules of real networks are tested in the network package.

type span struct {
	First   eth2.Epoch
	Name    string
	Version byte
	Blob    *eth2.BlobParameters
}

func spans(s eth2.Schedule) []span {
	var out []span
	for _, p := range s.Periods {
		out = append(out, span{p.FirstEpoch, p.Name, p.ForkVersion[0], p.BlobParams})
	}
	return out
}

func fork(name string, version byte, epoch eth2.Epoch) eth2.Fork {
	return eth2.Fork{Name: name, Version: eth2.Version{version}, Epoch: epoch}
}

func TestSchedulePeriods(t *testing.T) {
	far := eth2.FarFutureEpoch
	blob := func(e eth2.Epoch, n uint64) *eth2.BlobParameters {
		return &eth2.BlobParameters{Epoch: e, MaxBlobsPerBlock: n}
	}
	for _, tt := range []struct {
		name  string
		forks []eth2.Fork
		blobs []eth2.BlobParameters
		want  []span
	}{
		{
			name:  "forks at one epoch collapse into the last",
			forks: []eth2.Fork{fork("phase0", 1, 0), fork("altair", 2, 0), fork("electra", 3, 0), fork("fulu", 4, 0), fork("gloas", 5, far)},
			want:  []span{{0, "fulu", 4, blob(0, 9)}},
		},
		{
			name:  "blob entry at a fork",
			forks: []eth2.Fork{fork("phase0", 1, 0), fork("electra", 2, 5), fork("fulu", 3, 10)},
			blobs: []eth2.BlobParameters{{Epoch: 20, MaxBlobsPerBlock: 21}, {Epoch: 10, MaxBlobsPerBlock: 12}},
			want:  []span{{0, "genesis/phase0", 1, nil}, {5, "electra", 2, nil}, {10, "fulu+bpo1(12)", 3, blob(10, 12)}, {20, "bpo2(21)", 3, blob(20, 21)}},
		},
		{
			name:  "blob entry before Fulu is in force from Fulu on",
			forks: []eth2.Fork{fork("phase0", 1, 0), fork("electra", 2, 5), fork("fulu", 3, 10)},
			blobs: []eth2.BlobParameters{{Epoch: 7, MaxBlobsPerBlock: 12}},
			want:  []span{{0, "genesis/phase0", 1, nil}, {5, "electra", 2, nil}, {10, "fulu", 3, blob(7, 12)}},
		},
		{
			name:  "a fork keeps the blob parameters",
			forks: []eth2.Fork{fork("electra", 2, 0), fork("fulu", 3, 0), fork("gloas", 4, 30)},
			blobs: []eth2.BlobParameters{{Epoch: 20, MaxBlobsPerBlock: 21}},
			want:  []span{{0, "fulu", 3, blob(0, 9)}, {20, "bpo1(21)", 3, blob(20, 21)}, {30, "gloas", 4, blob(20, 21)}},
		},
		{
			name:  "no Fulu, no blob parameters",
			forks: []eth2.Fork{fork("phase0", 1, 0), fork("electra", 2, 5), fork("fulu", 3, far)},
			blobs: []eth2.BlobParameters{{Epoch: 20, MaxBlobsPerBlock: 21}},
			want:  []span{{0, "genesis/phase0", 1, nil}, {5, "electra", 2, nil}},
		},
		{
			name:  "entries that are not scheduled",
			forks: []eth2.Fork{fork("electra", 2, 0), fork("fulu", 3, 0)},
			blobs: []eth2.BlobParameters{{Epoch: far, MaxBlobsPerBlock: 1}, {Epoch: far, MaxBlobsPerBlock: 2}},
			want:  []span{{0, "fulu", 3, blob(0, 9)}},
		},
		{
			name:  "a fork that a later one precedes never is",
			forks: []eth2.Fork{fork("phase0", 1, 0), fork("altair", 2, 20), fork("bellatrix", 3, 10)},
			want:  []span{{0, "genesis/phase0", 1, nil}, {10, "bellatrix", 3, nil}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := eth2.NewSchedule(eth2.Root{1}, tt.forks, tt.blobs, 9)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, spans(s)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestScheduleErrors(t *testing.T) {
	if _, err := eth2.NewSchedule(eth2.Root{}, []eth2.Fork{fork("altair", 1, 1)}, nil, 9); err == nil {
		t.Error("no fork at epoch 0: want an error")
	}
	twice := []eth2.BlobParameters{{Epoch: 3, MaxBlobsPerBlock: 1}, {Epoch: 1}, {Epoch: 3, MaxBlobsPerBlock: 2}}
	if _, err := eth2.NewSchedule(eth2.Root{}, []eth2.Fork{fork("phase0", 1, 0)}, twice, 9); err == nil {
		t.Error("two blob entries for an epoch: want an error")
	}
}

func TestScheduleLookups(t *testing.T) {
	s, err := eth2.NewSchedule(eth2.Root{1}, []eth2.Fork{fork("phase0", 1, 0), fork("altair", 2, 10)}, nil, 9)
	if err != nil {
		t.Fatal(err)
	}
	for epoch, want := range map[eth2.Epoch]string{0: "genesis/phase0", 9: "genesis/phase0", 10: "altair", eth2.FarFutureEpoch: "altair"} {
		if got := s.At(epoch).Name; got != want {
			t.Errorf("at epoch %d: %s, want %s", epoch, got, want)
		}
	}
	if next, ok := s.Next(9); !ok || next.FirstEpoch != 10 {
		t.Errorf("next after epoch 9: %v %v, want epoch 10", next, ok)
	}
	if next, ok := s.Next(10); ok {
		t.Errorf("next after the last period: %v, want none", next)
	}
	for _, p := range s.Periods {
		if got, ok := s.Lookup(p.Digest); !ok || got.Name != p.Name {
			t.Errorf("lookup of %s: %v %v, want %s", p.Digest, got, ok, p.Name)
		}
	}
	if p, ok := s.Lookup(eth2.ForkDigest{0xde, 0xad, 0xbe, 0xef}); ok {
		t.Errorf("lookup of a foreign digest: %v, want none", p)
	}
}
