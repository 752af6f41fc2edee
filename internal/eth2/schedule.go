package eth2

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// Fork is a scheduled protocol upgrade that changes the fork version.
type Fork struct {
	Name    string // lower case: phase0, altair, bellatrix, capella, deneb, electra, fulu, gloas, heze
	Version Version
	Epoch   Epoch // FarFutureEpoch when not scheduled
}

// BlobParameters is one entry of BLOB_SCHEDULE (fulu/beacon-chain.md).
type BlobParameters struct {
	Epoch            Epoch  `json:"epoch"`
	MaxBlobsPerBlock uint64 `json:"max_blobs_per_block"`
}

// Period is a stretch of epochs with one fork digest.
type Period struct {
	// Name is the fork's, "genesis/phase0" for the first one, "bpo1(15)" for the
	// first blob-parameter-only fork (15 blobs), "fulu+bpo1(15)" for both at one
	// epoch.
	Name        string
	FirstEpoch  Epoch
	ForkVersion Version
	Digest      ForkDigest
	// BlobParams enter the digest from Fulu on; nil before.
	BlobParams *BlobParameters
}

// Schedule is the fork schedule of one network: its periods, ascending, the
// first at epoch 0. Immutable.
type Schedule struct {
	Periods []Period
}

// Names of the forks that the schedule treats apart.
const (
	ForkPhase0  = "phase0"
	ForkElectra = "electra"
	ForkFulu    = "fulu"
)

// NewSchedule derives the periods from the forks and BLOB_SCHEDULE of a network's
// configuration. The forks come in the order of the protocol: where several are
// due, the last of them is in force (compute_fork_version), so forks at one epoch
// collapse into the last. maxBlobsElectra is MAX_BLOBS_PER_BLOCK_ELECTRA, in force
// from Fulu on until the first blob entry. At least one fork must be at epoch 0.
func NewSchedule(genesisValidatorsRoot Root, forks []Fork, blobs []BlobParameters, maxBlobsElectra uint64) (Schedule, error) {
	electra, fulu := epochOfFork(forks, ForkElectra), epochOfFork(forks, ForkFulu)
	forks = forksInForce(forks)
	if len(forks) == 0 || forks[0].Epoch != 0 {
		return Schedule{}, fmt.Errorf("fork schedule: no fork at epoch 0")
	}
	blobs, err := scheduledBlobs(blobs)
	if err != nil {
		return Schedule{}, err
	}
	fallback := BlobParameters{Epoch: electra, MaxBlobsPerBlock: maxBlobsElectra}

	var s Schedule
	blobForks := 0
	for _, start := range periodStarts(forks, blobs, fulu) {
		fork := forks[indexAt(forks, start, Fork.epoch)]
		p := Period{FirstEpoch: start, ForkVersion: fork.Version}
		if fork.Epoch == start {
			p.Name = periodName(fork)
		}
		if start >= fulu {
			params := fallback
			if i := indexAt(blobs, start, BlobParameters.epoch); i >= 0 {
				params = blobs[i]
				if params.Epoch == start {
					blobForks++
					p.Name = blobForkName(p.Name, blobForks, params)
				}
			}
			p.BlobParams = &params
		}
		p.Digest = computeForkDigest(p.ForkVersion, genesisValidatorsRoot, p.BlobParams)
		s.Periods = append(s.Periods, p)
	}
	return s, nil
}

func (f Fork) epoch() Epoch           { return f.Epoch }
func (b BlobParameters) epoch() Epoch { return b.Epoch }

// epochOfFork is FarFutureEpoch when the fork is not there.
func epochOfFork(forks []Fork, name string) Epoch {
	for _, f := range forks {
		if f.Name == name {
			return f.Epoch
		}
	}
	return FarFutureEpoch
}

// forksInForce drops the forks that never are: those not scheduled, and those that
// a later one precedes or meets. What is left ascends.
func forksInForce(forks []Fork) []Fork {
	var kept []Fork
	next := FarFutureEpoch
	for _, f := range slices.Backward(forks) {
		if f.Epoch < next {
			kept = append(kept, f)
			next = f.Epoch
		}
	}
	slices.Reverse(kept)
	return kept
}

// scheduledBlobs sorts the entries and drops those that are not scheduled.
func scheduledBlobs(blobs []BlobParameters) ([]BlobParameters, error) {
	blobs = slices.DeleteFunc(slices.Clone(blobs), func(b BlobParameters) bool { return b.Epoch == FarFutureEpoch })
	slices.SortFunc(blobs, func(a, b BlobParameters) int { return cmp.Compare(a.Epoch, b.Epoch) })
	for i := 1; i < len(blobs); i++ {
		if blobs[i].Epoch == blobs[i-1].Epoch {
			return nil, fmt.Errorf("BLOB_SCHEDULE: two entries for epoch %d", blobs[i].Epoch)
		}
	}
	return blobs, nil
}

// periodStarts lists the epochs at which the digest changes, ascending: at each
// fork, and from Fulu on at each blob entry.
func periodStarts(forks []Fork, blobs []BlobParameters, fulu Epoch) []Epoch {
	var starts []Epoch
	for _, f := range forks {
		starts = append(starts, f.Epoch)
	}
	for _, b := range blobs {
		if b.Epoch >= fulu {
			starts = append(starts, b.Epoch)
		}
	}
	slices.Sort(starts)
	return slices.Compact(starts)
}

// indexAt is the index of the newest of the ascending items at epoch e; -1 when
// all are later.
func indexAt[T any](items []T, e Epoch, epoch func(T) Epoch) int {
	i, found := slices.BinarySearchFunc(items, e, func(item T, e Epoch) int { return cmp.Compare(epoch(item), e) })
	if !found {
		i--
	}
	return i
}

func periodName(f Fork) string {
	if f.Name == ForkPhase0 {
		return "genesis/" + f.Name
	}
	return f.Name
}

// blobForkName names the n-th blob-parameter-only fork, "bpo1(15)", or a fork that
// brings new blob parameters with it, "fulu+bpo1(21)".
func blobForkName(fork string, n int, params BlobParameters) string {
	name := fmt.Sprintf("bpo%d(%d)", n, params.MaxBlobsPerBlock)
	if fork != "" {
		return fork + "+" + name
	}
	return name
}

// computeForkDigest is compute_fork_digest of fulu/beacon-chain.md: the first four
// bytes of the fork data root, from Fulu on XORed with the hash of the blob
// parameters in force.
func computeForkDigest(version Version, genesisValidatorsRoot Root, blob *BlobParameters) ForkDigest {
	var data [64]byte
	copy(data[:4], version[:])
	copy(data[32:], genesisValidatorsRoot[:])
	base := sha256.Sum256(data[:])
	digest := ForkDigest(base[:4])
	if blob != nil {
		b := binary.LittleEndian.AppendUint64(nil, uint64(blob.Epoch))
		b = binary.LittleEndian.AppendUint64(b, blob.MaxBlobsPerBlock)
		mask := sha256.Sum256(b)
		for i := range digest {
			digest[i] ^= mask[i]
		}
	}
	return digest
}

func (p Period) firstEpoch() Epoch { return p.FirstEpoch }

// index of the period in force at the epoch.
func (s Schedule) index(e Epoch) int { return indexAt(s.Periods, e, Period.firstEpoch) }

// At is the period in force at epoch e.
func (s Schedule) At(e Epoch) Period { return s.Periods[s.index(e)] }

// Next is the period after the one in force at e; ok is false when none is scheduled.
func (s Schedule) Next(e Epoch) (p Period, ok bool) {
	if i := s.index(e) + 1; i < len(s.Periods) {
		return s.Periods[i], true
	}
	return Period{}, false
}

// ForkID is the ENR's eth2 entry at epoch e and the nfd entry's value.
// next_fork_epoch counts blob-parameter-only forks; next_fork_version is that of
// the next regular fork, even when a blob-parameter-only one comes first. Without
// a next fork they are FarFutureEpoch and the current version, and nfd is zero
// (fulu/p2p-interface.md).
func (s Schedule) ForkID(e Epoch) (id ENRForkID, nfd ForkDigest) {
	i := s.index(e)
	now := s.Periods[i]
	id = ENRForkID{ForkDigest: now.Digest, NextForkVersion: now.ForkVersion, NextForkEpoch: FarFutureEpoch}
	later := s.Periods[i+1:]
	if len(later) > 0 {
		id.NextForkEpoch, nfd = later[0].FirstEpoch, later[0].Digest
	}
	for _, p := range later {
		if p.ForkVersion != now.ForkVersion {
			id.NextForkVersion = p.ForkVersion
			break
		}
	}
	return id, nfd
}

// Lookup finds the period that has the digest.
func (s Schedule) Lookup(d ForkDigest) (p Period, ok bool) {
	for _, p := range s.Periods {
		if p.Digest == d {
			return p, true
		}
	}
	return Period{}, false
}
