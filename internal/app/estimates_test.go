package app

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/beaconapi"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/tracker"
)

// An hour of a devnet has as many slots as one of mainnet, in whichever process its network runs.
// Other networks with short slots have whole hours.
func TestHoursOfADevnetAreScaled(t *testing.T) {
	clock := eth2.Clock{Genesis: time.Now(), SlotDuration: time.Second, SlotsPerEpoch: 8}
	for name, want := range map[string]time.Duration{devnet.Name: 5 * time.Minute, "gnosis": 0} {
		e := newEstimates(EstimatesConfig{}, t.TempDir(), network.Network{Name: name, Clock: clock}, slog.New(slog.DiscardHandler))
		if got := e.config.EstimateEvery; got != want {
			t.Errorf("%s: rows every %v, want %v", name, got, want)
		}
	}
}

// Where the number of active validators comes from, before an event is folded.
func TestPrepare(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"data":[{"validators":[%s"1"]}]}`, strings.Repeat(`"1",`, 63))
	}))
	defer api.Close()
	clock := eth2.Clock{Genesis: time.Now().Add(-time.Hour), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}
	log := slog.New(slog.DiscardHandler)
	for name, test := range map[string]struct {
		network         string
		given, last     uint64
		lastUncertainty float64
		api             string
		want            uint64
		uncertainty     float64
		wantErr         string
		wantConfig      bool
		wantSource      string // in the warning that the API is away
	}{
		"given":                         {network: "mainnet", given: 7, last: 5, want: 7, uncertainty: givenUncertainty},
		"from the API":                  {network: "custom", last: 5, api: api.URL, want: 64},
		"the API is away, of last time": {network: "custom", last: 5, api: "http://127.0.0.1:1", want: 5, wantSource: "the last run"},
		"the API is away, simulated":    {network: devnet.Name, given: 7, api: "http://127.0.0.1:1", want: 7, uncertainty: givenUncertainty, wantSource: "the simulated network"},
		"the API is away, given":        {network: "hoodi", given: 7, last: 5, api: "http://127.0.0.1:1", want: 7, uncertainty: givenUncertainty, wantSource: "--active-validators"},
		"the API is away, assumed":      {network: "hoodi", api: "http://127.0.0.1:1", want: 1_200_000, uncertainty: assumedUncertainty, wantSource: "an assumption about the network, of 20"},
		"the API is away":               {network: "custom", api: "http://127.0.0.1:1", wantErr: "the number of active validators of custom"},
		"of last time":                  {network: "custom", last: 5, lastUncertainty: givenUncertainty, want: 5, uncertainty: givenUncertainty},
		"assumed last time":             {network: "mainnet", last: 5, lastUncertainty: assumedUncertainty, want: 950_000, uncertainty: assumedUncertainty},
		"assumed":                       {network: "mainnet", want: 950_000, uncertainty: assumedUncertainty},
		"unknown":                       {network: "custom", wantErr: "give --active-validators or --beacon-api", wantConfig: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if test.last > 0 {
				tr, err := tracker.Open(t.Context(), tracker.Config{Dir: dir, Network: test.network, Log: log,
					Params: estimate.Params{Clock: clock, ActiveValidators: test.last, PAggUncertainty: test.lastUncertainty}})
				if err != nil {
					t.Fatal(err)
				}
				if err := tr.Close(); err != nil {
					t.Fatal(err)
				}
			}
			net := network.Network{Name: test.network}
			if test.network != "custom" && test.network != devnet.Name {
				var err error
				if net, err = network.Load(test.network); err != nil {
					t.Fatal(err)
				}
			}
			net.Clock = clock
			cfg := EstimatesConfig{ActiveValidators: test.given}
			if test.api != "" {
				var err error
				if cfg.BeaconAPI, err = beaconapi.New(test.api); err != nil {
					t.Fatal(err)
				}
			}
			var lines strings.Builder
			e := newEstimates(cfg, dir, net, slog.New(slog.NewTextHandler(&lines, nil)))
			err := e.prepare(t.Context())
			if warned := strings.Contains(lines.String(), "cannot read the number"); warned != (test.wantSource != "") || !strings.Contains(lines.String(), test.wantSource) {
				t.Errorf("no warning that names %q, or one without need: %s", test.wantSource, &lines)
			}
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) || isConfigError(err) != test.wantConfig {
					t.Fatalf("error %v, a ConfigError: %t", err, isConfigError(err))
				}
				return
			}
			if p := e.config.Params; err != nil || p.ActiveValidators != test.want || p.PAggUncertainty != test.uncertainty {
				t.Errorf("%d with %g, %v, want %d with %g", p.ActiveValidators, p.PAggUncertainty, err, test.want, test.uncertainty)
			}
		})
	}
}

// A Beacon API that does not finish its answer delays the start by seconds only, while
// another number is known.
func TestStartDoesNotWaitForTheBeaconAPI(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			time.Sleep(10 * time.Millisecond)
			io.WriteString(w, " ")
			http.NewResponseController(w).Flush()
		}
		close(ended)
	}))
	t.Cleanup(api.Close)
	cfg := EstimatesConfig{}
	var err error
	if cfg.BeaconAPI, err = beaconapi.New(api.URL); err != nil {
		t.Fatal(err)
	}
	net, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	e := newEstimates(cfg, t.TempDir(), net, slog.New(slog.DiscardHandler))
	began := time.Now()
	if err := e.prepare(t.Context()); err != nil || e.config.Params.ActiveValidators != 950_000 {
		t.Errorf("%d validators, %v", e.config.Params.ActiveValidators, err)
	}
	if waited := time.Since(began); waited > 5*startWait {
		t.Errorf("the start waited %v", waited)
	}
	<-ended
}

// A data directory of another network is the user's mistake, and nothing happens to it.
func TestOpenTrackerOfAnotherNetwork(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	clock := eth2.Clock{Genesis: time.Now().Add(-time.Hour), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}
	open := func(name string) error {
		w, err := dataset.Open(dir, log)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		tr, err := newEstimates(EstimatesConfig{ActiveValidators: 64}, dir, network.Network{Name: name, Clock: clock}, log).open(t.Context(), w)
		if err != nil {
			return err
		}
		return tr.Close()
	}
	if err := open("devnet"); err != nil {
		t.Fatal(err)
	}
	if err := open("mainnet"); !errors.Is(err, tracker.ErrOtherNetwork) || !isConfigError(err) || !strings.Contains(err.Error(), "it holds devnet") {
		t.Errorf("error %v, a ConfigError: %t", err, isConfigError(err))
	}
	if err := open("devnet"); err != nil {
		t.Error(err)
	}
}

// A damaged database can be recomputed: it keeps nobody from crawling and storing.
func TestOpenDamagedTracker(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	if err := os.WriteFile(filepath.Join(dir, tracker.File), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	use := ConsumerConfig{Network: network.Network{Name: "devnet"}, DataDir: dir}.dirUse()
	if err := checkDataDir(dir, use); err != nil {
		t.Errorf("a start is refused: %v", err)
	}
	if err := WithoutEstimates(dir, use); !errors.Is(err, tracker.ErrDamaged) {
		t.Errorf("check says %v", err)
	}
	if err := checkDataDir(dir, DirUse{Consumer: true, Named: true}); !errors.Is(err, tracker.ErrDamaged) {
		t.Errorf("what needs the database goes on: %v", err)
	}
	w, err := dataset.Open(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	clock := eth2.Clock{Genesis: time.Now().Add(-time.Hour), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}
	e := newEstimates(EstimatesConfig{ActiveValidators: 64}, dir, network.Network{Name: "devnet", Clock: clock}, log)
	if tr, err := e.open(t.Context(), w); tr != nil || err != nil || !errors.Is(e.unavailable, tracker.ErrDamaged) {
		t.Errorf("%v, %v, unavailable %v", tr, err, e.unavailable)
	}
}

func isConfigError(err error) bool {
	var bad *ConfigError
	return errors.As(err, &bad)
}

// A database that another program has locked is no reason not to store events.
func TestLockedTrackerIsDoneWithout(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	net, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	w, err := dataset.Open(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	open := func() (*tracker.Tracker, error, error) {
		e := newEstimates(EstimatesConfig{}, dir, net, log)
		tr, err := e.open(t.Context(), w)
		return tr, e.unavailable, err
	}
	tr, unavailable, err := open()
	if err != nil || tr == nil || unavailable != nil {
		t.Fatalf("%v, %v, %v", tr, unavailable, err)
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, tracker.File))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	if err := tracker.Check(dir, "mainnet"); err != nil {
		t.Errorf("check: %v", err)
	}
	tr, unavailable, err = open()
	if err != nil || tr != nil || !errors.Is(unavailable, tracker.ErrBusy) {
		t.Errorf("locked: %v, %v, %v", tr, unavailable, err)
	}
}

// Once the database can be read, estimates continue with what it knows, such as the number
// of active validators that the last run was given.
func TestLockedTrackerIsOpenedLater(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	net := network.Network{Name: "custom", Clock: eth2.Clock{Genesis: time.Now().Add(-time.Hour), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}}
	w, err := dataset.Open(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tr, err := newEstimates(EstimatesConfig{ActiveValidators: 77}, dir, net, log).open(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, tracker.File))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	e := newEstimates(EstimatesConfig{}, dir, net, log)
	if tr, err := e.open(t.Context(), w); tr != nil || err != nil || !errors.Is(e.unavailable, tracker.ErrBusy) {
		t.Fatalf("locked: %v, %v, unavailable %v", tr, err, e.unavailable)
	}
	if _, err := e.reopen(t.Context()); !errors.Is(err, tracker.ErrBusy) {
		t.Errorf("still locked: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	tr, err = e.reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Abandon()
	if n := tr.State().Params().ActiveValidators; n != 77 {
		t.Errorf("%d active validators, want those of the last run", n)
	}
}

// An unreadable database, such as one on a failing disk, is one that may be readable later.
func TestUnreadableTrackerIsDoneWithout(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	net, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	w, err := dataset.Open(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	path := filepath.Join(dir, tracker.File)
	if err := os.Mkdir(path, 0o755); err != nil { // as good as any that cannot be opened
		t.Fatal(err)
	}
	e := newEstimates(EstimatesConfig{}, dir, net, log)
	if tr, err := e.open(t.Context(), w); tr != nil || err != nil || e.unavailable == nil {
		t.Fatalf("%v, %v, unavailable %v", tr, err, e.unavailable)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	tr, err := e.reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
}

// The mean balance is the one that was given, else the last that was known; a Beacon API
// that has none leaves it.
func TestWhereTheMeanBalanceComesFrom(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	net := network.Network{Name: "devnet", Clock: eth2.Clock{Genesis: time.Now().Add(-time.Hour), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}}
	run := func(cfg EstimatesConfig) estimate.Balance {
		w, err := dataset.Open(dir, log)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		cfg.ActiveValidators = 64
		e := newEstimates(cfg, dir, net, log)
		tr, err := e.open(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.BeaconAPI != nil && e.askBalance(t.Context(), tr) {
			t.Error("a balance was read from an API that has none")
		}
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		return e.config.Params.Balance
	}
	if b := run(EstimatesConfig{}); b.Known() {
		t.Errorf("at first: %+v", b)
	}
	given := estimate.Balance{Mean: 43.4, Error: givenBalanceError}
	if b := run(EstimatesConfig{MeanBalance: 43.4}); b != given {
		t.Errorf("given: %+v", b)
	}
	api, err := beaconapi.New("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if b := run(EstimatesConfig{BeaconAPI: api}); b != given {
		t.Errorf("of the last run: %+v", b)
	}
}
