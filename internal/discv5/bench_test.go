package discv5

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// swarmVariable makes the test binary a process of so many nodes with full tables:
// what they cost is then not in the measures of ours.
const swarmVariable = "VALTRACK_TEST_SWARM"

// farTesting stands in for a test in the swarm's process, which lives until it is
// told to end.
type farTesting struct{ testing.TB }

func (*farTesting) Helper()           {}
func (*farTesting) Cleanup(func())    {}
func (*farTesting) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// serveSwarm starts the nodes, prints the record of one and serves until stdin ends.
func serveSwarm(size int) {
	nodes := newSwarm(&farTesting{}, size, testForkID(1))
	fmt.Println(nodes[0].local.Node())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// farSwarm starts a swarm in its own process and gives a record of it.
func farSwarm(b *testing.B, size int) (bootnode string) {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), swarmVariable+"="+strconv.Itoa(size))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// cpuTime is the processor time of this process so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCoverage finds every node of a swarm whose tables are full, in another
// process. cpu-us/node is ours alone.
func BenchmarkCoverage(b *testing.B) {
	for _, size := range []int{200, 1000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) { cover(b, size) })
	}
}

func cover(b *testing.B, size int) {
	bootnode := farSwarm(b, size)
	var spent time.Duration
	var asked, far, records int64
	for b.Loop() {
		before := cpuTime(b)
		f := newFinder(b, func(c *Config) { c.Bootnodes = []string{bootnode} })
		f.SetFork(testForkID(1), eth2.ForkDigest{})
		s := newSeen()
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx, s.found) }()
		// The swarm also tells of the finders before this one.
		s.wait(b, "the whole swarm", func() bool { return s.count() >= size })
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		spent += cpuTime(b) - before
		asked, far, records = asked+f.requests.Load(), far+f.far.Load(), records+f.records.Load()
		f.Close()
	}
	n := float64(b.N * size)
	b.ReportMetric(float64(spent.Microseconds())/n, "cpu-us/node")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/n, "us/node")
	b.ReportMetric(float64(asked)/n, "requests/node")
	b.ReportMetric(float64(far)/n, "far/node")
	b.ReportMetric(float64(records)/n, "records/node")
}
