//go:build interop

package interop

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/tracker"
)

// accuracyVariable, when it is set, asks for the long watch: `make accuracy-real`.
const accuracyVariable = "VALTRACK_ACCURACY"

// watchedEpochs of each node are enough for its estimate.
const watchedEpochs = 10

// Real validators behind real nodes, whose number the network's start decided. In a
// network this small every duty aggregates.
func TestRealValidators(t *testing.T) {
	if os.Getenv(accuracyVariable) == "" {
		t.Skip("half an hour: make accuracy-real")
	}
	dir := os.Getenv("REALNET")
	nodes := realNodes(t, dir)
	data := t.TempDir()
	const program = "../../valtrack"
	run := exec.Command(program, "run", "--network-dir", filepath.Join(dir, "run"), "--data-dir", data, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0",
		"--segment-age", "5s", "--watch-epochs", fmt.Sprint(watchedEpochs), "--beacon-api", fmt.Sprintf("http://127.0.0.1:%d", nodes[0].HTTPPort))
	run.Stderr = os.Stderr
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer run.Process.Kill()

	deadline := time.Now().Add(50 * time.Minute)
	for !watchedAll(t, data, nodes) {
		if time.Now().After(deadline) {
			t.Fatalf("not every node was watched for %d epochs in time", watchedEpochs)
		}
		time.Sleep(10 * time.Second)
	}
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(); err != nil {
		t.Errorf("valtrack run after SIGTERM: %v", err)
	}
	view, err := tracker.Read(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if total := 64; int(view.Params().ActiveValidators) != total {
		t.Errorf("%d active validators by the Beacon API, want %d", view.Params().ActiveValidators, total)
	}
	for _, n := range nodes {
		p := view.Peer(n.PeerID)
		e, why := p.Estimate, view.Why(p)
		fmt.Printf("%s validators=%d estimate=%d [%.0f to %.0f] P=%.3f subnets alone=%d [%.0f to %.0f], %.1f epochs watched, %d cells filled, %d not\n",
			n.PeerID, n.Validators, e.Median, e.Low, e.High, e.PValidator, why.Subnets.Median, why.Subnets.Low, why.Subnets.High, e.EpochsWatched, why.On, why.Off)
		least, most := 0.7*float64(n.Validators), 1.3*float64(n.Validators)
		if n.Validators == 4 {
			least, most = 2, 8
		}
		for _, median := range []float64{float64(e.Median), float64(why.Subnets.Median)} {
			if median < math.Floor(least) || median > most {
				t.Errorf("%s has %d validators, estimated %.0f", n.PeerID, n.Validators, median)
			}
		}
	}
}

// watchedAll reports whether the tracker has whole watches of all nodes.
func watchedAll(t *testing.T, data string, nodes []realNode) bool {
	t.Helper()
	view, err := tracker.Read(t.Context(), data)
	if err != nil {
		return false // not there yet
	}
	for _, n := range nodes {
		if p := view.Peer(n.PeerID); p == nil || p.Estimate == nil || p.Estimate.EpochsWatched < watchedEpochs-0.5 {
			return false
		}
	}
	return true
}
