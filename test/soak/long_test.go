package soak

import (
	"log/slog"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	// hoursVariable is how long the long run takes, in hours; profilesVariable is a
	// directory for its samples and heap profiles.
	hoursVariable, profilesVariable = "SOAK_HOURS", "SOAK_PROFILES"
	// shortLong is the run of `go test`: it shows that everything runs, and is too short
	// for a verdict.
	shortLong, maxLong = 40 * time.Second, 48 * time.Hour
	// Epochs are short so that what is kept by epoch is full early; see fullDay.
	longSlot, longSlots = 125 * time.Millisecond, 16
	longEpoch           = longSlot * longSlots
	// fullDay is when the statistics of a peer's day are full, after which they do not grow
	// until midnight (UTC): estimate keeps 1024 spans of slots of a day, and a visit each epoch
	// adds one. A day of mainnet has 225 epochs. Nodes that are away for a while fill them later.
	fullDay = 1024 * longEpoch * 3 / 2
	// soakHistoryHours is of how many of the tracker's hours the programs keep the history in
	// memory: 40 minutes, an hour having 300 slots, instead of 90 days.
	soakHistoryHours = 64
	longFaults       = "hostile=0.3"
	// longKills are in all, of which each consumerTurn-th is the consumer's, which so lives
	// through several deaths of the broker: what each leaves behind in it adds up. They are in
	// the first killsUntil of the run: in the rest all live long enough for a slope.
	longKills, consumerTurn = 11, 4
	killsUntil              = 0.35
	// startPatience bounds the time until a program that was started answers.
	startPatience = 2 * time.Minute
)

// schedule divides the time of a run.
type schedule struct {
	run     time.Duration
	sample  time.Duration // between two samples
	settled time.Duration // from the start, before what is measured counts
	kill    time.Duration // between two kills
	away    time.Duration // how long who was killed is away
	compact time.Duration
	// retention is so short that the datasets are as large as they will be before they are
	// measured.
	retention time.Duration
}

func scheduleOf(run time.Duration) schedule {
	s := schedule{run: run, sample: min(10*time.Second, run/600), kill: time.Duration(killsUntil * float64(run) / longKills)}
	s.settled = max(run/8, min(fullDay, run*2/3)) // statistics must be full
	s.away = min(30*time.Second, s.kill/8)
	s.retention = min(15*time.Minute, run/16)
	s.compact = s.retention / 4
	return s
}

// member is one of the programs that are measured.
type member struct {
	name, path string
	args       []string
	address    string // of its profiles
	log        string

	p    *program // nil while it is away
	life int
	born time.Time
}

func (m *member) start(t *testing.T) {
	t.Helper()
	m.p, m.born = startProgram(t, m.log, m.path, m.args...), time.Now()
	m.life++
}

func (m *member) kill(t *testing.T) {
	t.Helper()
	if err := m.p.cmd.Process.Kill(); err != nil {
		t.Fatalf("kill %s: %v", m.name, err)
	}
	<-m.p.done
	m.p.replaced, m.p = true, nil
}

// world is what runs.
type world struct {
	dir                      string // of everything
	sentry, consumer, broker *member
}

func (w *world) members() []*member { return []*member{w.sentry, w.consumer, w.broker} }

func (w *world) data(m *member) string { return filepath.Join(w.dir, m.name) }

// TestNothingGrows: memory, goroutines, descriptors and files of sentry, consumer and
// broker stay as they are, for SOAK_HOURS of real time, in a network of short slots that
// churns and forks, in which three of ten nodes are hostile, while broker and consumer
// are killed and started again.
func TestNothingGrows(t *testing.T) {
	if testing.Short() {
		t.Skip("takes most of a minute")
	}
	run, long := shortLong, false
	if text := os.Getenv(hoursVariable); text != "" {
		hours, err := strconv.ParseFloat(text, 64)
		run, long = time.Duration(hours*float64(time.Hour)), true
		if err != nil || !(hours > 0) || run < 2*time.Minute || run > maxLong {
			t.Fatalf("%s=%q: want hours, from 0.04 to %.0f", hoursVariable, text, maxLong.Hours())
		}
	}
	s := scheduleOf(run)
	w := newWorld(t, startNetwork(t, run), s)
	r := newRecorder(t, w, s)
	for _, m := range w.members() {
		m.start(t)
	}
	runFor(t, w, r, s)
	if stored := r.metric(t, w.consumer, "valtrack_consumer_events_stored_total"); stored == 0 {
		t.Error("the consumer stored nothing in its last life")
	}
	if lost := r.metric(t, w.sentry, "valtrack_sentry_events_lost_total"); lost != 0 {
		t.Errorf("the sentry lost %.0f events", lost)
	}
	w.sentry.p.stop(t)
	w.consumer.p.stop(t)
	w.broker.kill(t)
	r.report(t, s, long)
}

// startNetwork starts the devnet. No node changes its key: a table with a row per peer,
// which forgets after weeks, would grow, and rightly so.
func startNetwork(t *testing.T, run time.Duration) (dir string) {
	t.Helper()
	faults, err := devnet.ParseMix(longFaults)
	if err != nil {
		t.Fatal(err)
	}
	at := func(share float64) eth2.Epoch {
		return devnet.DefaultGenesisAge + eth2.Epoch(math.Ceil(share*float64(run/longEpoch)))
	}
	dir = filepath.Join(t.TempDir(), "devnet")
	d, err := devnet.Start(t.Context(), devnet.Config{
		Nodes: 100, Seed: 5, Dir: dir, SlotDuration: longSlot, SlotsPerEpoch: longSlots, Faults: faults,
		Churn: devnet.Churn{Leave: 0.02, Return: 0.25, Move: 0.01},
		Forks: devnet.WithFork("gloas", at(0.4)),
		Blobs: []eth2.BlobParameters{{Epoch: at(0.2), MaxBlobsPerBlock: 12}, {Epoch: at(0.6), MaxBlobsPerBlock: 15}, {Epoch: at(0.8), MaxBlobsPerBlock: 21}},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close the devnet: %v", err)
		}
	})
	return dir
}

func newWorld(t *testing.T, network string, s schedule) *world {
	t.Helper()
	cmd := exec.Command("go", "tool", "-modfile=tools/go.mod", "-n", "nats-server")
	cmd.Dir = "../.."
	server, err := cmd.Output()
	if err != nil {
		t.Fatalf("build nats-server: %v", err)
	}
	w := &world{dir: t.TempDir()}
	// What the programs put into the system's directory for temporary files counts too.
	temporary := filepath.Join(w.dir, "tmp")
	if err := os.Mkdir(temporary, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temporary)
	// By default heap profiles have a sample each 512 KiB: what grows by less is not in them.
	t.Setenv("GODEBUG", "memprofilerate=65536")
	ports := freePorts(t, 5)
	address := func(i int) string { return net.JoinHostPort("127.0.0.1", ports[i]) }
	newMember := func(name, path, profiles string, args ...string) *member {
		return &member{name: name, path: path, address: profiles, args: args, log: filepath.Join(w.dir, name+".log")}
	}
	w.broker = newMember("broker", strings.TrimSpace(string(server)), address(1), "-js", "-a", "127.0.0.1", "-p", ports[0], "--profile", ports[1])
	w.broker.args = append(w.broker.args, "-sd", w.data(w.broker))
	common := func(command, profiles string) []string {
		return []string{command, "--nats", "nats://" + address(0), "--network-dir", network, "--metrics", profiles, "--pprof", "--data-dir"}
	}
	w.sentry = newMember("sentry", "", address(2), common("sentry", address(2))...)
	w.sentry.args = append(w.sentry.args, w.data(w.sentry), "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--max-connections", "200", "--max-watched", "30")
	w.consumer = newMember("consumer", "", address(3), common("consumer", address(3))...)
	w.consumer.args = append(w.consumer.args, w.data(w.consumer), "--http", address(4), "--segment-age", min(5*time.Second, s.compact/2).String(),
		"--compact-every", s.compact.String(), "--retention", s.retention.String())
	return w
}

// freePorts are TCP ports of 127.0.0.1 that were free a moment ago.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

// runFor samples and kills until the time is over.
func runFor(t *testing.T, w *world, r *recorder, s schedule) {
	t.Helper()
	kills, ticks := 0, time.NewTicker(s.sample)
	defer ticks.Stop()
	for time.Since(r.began) < s.run {
		<-ticks.C
		elapsed := time.Since(r.began)
		victim := w.broker
		if (kills+1)%consumerTurn == 0 {
			victim = w.consumer
		}
		if due := s.kill * time.Duration(kills+1); kills < longKills && elapsed >= due {
			if victim.p != nil {
				victim.kill(t)
			}
			if elapsed >= due+s.away {
				victim.start(t)
				kills++
			}
		}
		for _, m := range w.members() {
			if m.p == nil {
				continue
			}
			select {
			case err := <-m.p.done:
				t.Fatalf("%s ended after %v: %v", m.name, elapsed.Round(time.Second), err)
			default:
			}
		}
		r.sample(t)
		if elapsed > s.settled {
			r.profiles(t, "begin")
			r.tables(t, "begin")
		}
	}
	r.profiles(t, "end")
	r.tables(t, "end")
}
