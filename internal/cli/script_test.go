package cli

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/chainbound/valtrack/internal/mirror/mirrortest"
)

// TestMain lets the scripts run this test binary as the program valtrack.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"valtrack": func() { os.Exit(ExitCode(Main(context.Background(), os.Args, os.Stdout, os.Stderr))) },
	})
}

// TestScripts runs the command line as a user types it: one story per file.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode":   exitCode,
			"waitfor":    waitFor,
			"port":       freePort,
			"lines":      atLeast,
			"http":       httpGet,
			"waithttp":   waitHTTP,
			"natsserver": natsServer,
			"dune":       fakeDune,

			"objectstore": objectStore,

			"noearlydial": noEarlyDial,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// exitCode runs `exitcode N command...` and demands the exit code.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v: %v", args[1:], err)
	}
	if got != want {
		ts.Fatalf("%v: exit code %d, want %d", args[1:], got, want)
	}
}

// waitLimit is far more than any wait needs on a busy machine.
const waitLimit = 90 * time.Second

// waitFor waits until a file holds a match: `waitfor FILE REGEXP [NAME]`. With a
// name it sets that variable to the match's first group.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: waitfor file regexp [name]")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	path := ts.MkAbs(args[0])
	var last []byte
	for deadline := time.Now().Add(waitLimit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		data, err := os.ReadFile(path)
		if err == nil {
			last = data
		}
		match := re.FindSubmatch(data)
		if match == nil {
			continue
		}
		if len(args) == 3 {
			ts.Setenv(args[2], string(match[1]))
		}
		return
	}
	ts.Fatalf("%s has no match of %q after %v:\n%s", args[0], args[1], waitLimit, last)
}

// natsServer starts a NATS server, with JetStream unless it is a plain one, and sets a
// variable to its URL: `natsserver NAME [PORT [plain]]`.
func natsServer(ts *testscript.TestScript, neg bool, args []string) {
	plain := len(args) == 3 && args[2] == "plain"
	if neg || len(args) < 1 || len(args) > 2 && !plain {
		ts.Fatalf("usage: natsserver name [port [plain]]")
	}
	port := server.RANDOM_PORT
	if len(args) > 1 {
		var err error
		port, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: !plain, StoreDir: ts.MkAbs("natsserver-" + args[0]), NoSigs: true})
	ts.Check(err)
	srv.Start()
	ts.Defer(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(waitLimit) {
		ts.Fatalf("the NATS server does not start")
	}
	ts.Setenv(args[0], srv.ClientURL())
}

// objectStore sets a variable to the URL of a bucket in an object store: `objectstore NAME`.
func objectStore(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: objectstore NAME")
	}
	s, err := mirrortest.Start(context.Background(), ts.MkAbs("objectstore-"+args[0]))
	ts.Check(err)
	ts.Defer(s.Kill)
	ts.Setenv(args[0], s.URL())
}

// fakeDune sets a variable to the URL of a server that takes the key dune_key, and answers as
// Dune does where nothing was published: `dune NAME`.
func fakeDune(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: dune NAME")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if r.Header.Get("X-Dune-Api-Key") != "dune_key" || err != nil {
			http.Error(w, "invalid API key", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"tables":[],"queries":[],"total":0,"query_id":7,"rows_written":%d}`, bytes.Count(body, []byte{'\n'}))
	}))
	ts.Defer(server.Close)
	ts.Setenv(args[0], server.URL)
}

// atLeast waits until a file has N lines: `lines FILE N`.
func atLeast(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines file N")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	path := ts.MkAbs(args[0])
	got := 0
	for deadline := time.Now().Add(waitLimit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if data, err := os.ReadFile(path); err == nil {
			if got = bytes.Count(data, []byte{'\n'}); got >= want {
				return
			}
		}
	}
	ts.Fatalf("%s has %d lines after %v, want %d", args[0], got, waitLimit, want)
}

// httpGet asks once and wants a match in the answer: `http URL REGEXP`.
func httpGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: http url regexp")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	client := &http.Client{Timeout: waitLimit}
	res, err := client.Get(args[0])
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	if !re.Match(body) {
		ts.Fatalf("%s answers %s without a match of %q:\n%s", args[0], res.Status, args[1], body)
	}
}

// waitHTTP asks until the answer has a match: `waithttp URL REGEXP`.
func waitHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waithttp url regexp")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	client := &http.Client{Timeout: waitLimit, Transport: &http.Transport{DisableKeepAlives: true}}
	var last []byte
	for deadline := time.Now().Add(waitLimit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		res, err := client.Get(args[0])
		if err != nil {
			last = []byte(err.Error())
			continue
		}
		last, err = io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil && re.Match(last) {
			return
		}
	}
	ts.Fatalf("%s has no match of %q after %v:\n%s", args[0], args[1], waitLimit, last)
}

// freePort sets a variable to a TCP port that was free a moment ago: `port NAME`.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	ts.Check(l.Close())
}

// noEarlyDial compares the peer table as a kill left it with the visits of the next
// start: `noearlydial PEERS VISITS`. There must be visits, none before the peer's
// due time, and none within the spacing of a visit that was under way.
func noEarlyDial(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: noearlydial peers.db visit_events.log")
	}
	const spacing = 30_000 * 250 / 12_000 // ms: 30 s for slots of 12 s, here of 250 ms
	due := make(map[string]int64)
	underWay := 0
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	rows, err := db.QueryContext(context.Background(), "SELECT id, max(due, not_before), began FROM peers")
	ts.Check(err)
	defer rows.Close()
	for rows.Next() {
		var id string
		var at, began int64
		ts.Check(rows.Scan(&id, &at, &began))
		if began > 0 {
			at = max(at, began+spacing)
			underWay++
		}
		due[id] = at
	}
	ts.Check(rows.Err())
	visits, again := 0, 0
	eachLine(ts, args[1], func(v visitLine) {
		if v.Direction != "outbound" {
			return
		}
		visits++
		at, known := due[v.ID]
		if known {
			again++
		}
		if v.Started < at {
			ts.Fatalf("%s was dialled %d ms before its time", v.ID, at-v.Started)
		}
	})
	if again == 0 {
		ts.Fatalf("%d visits after the kill, none of a known peer", visits)
	}
	ts.Logf("%d peers, %d visits under way; %d visits after the kill", len(due), underWay, visits)
}

type visitLine struct {
	ID        string `json:"id"`
	Direction string `json:"direction"`
	Started   int64  `json:"started"`
}

// eachLine decodes the whole lines of a file of JSON lines.
func eachLine[T any](ts *testscript.TestScript, path string, each func(T)) {
	data := []byte(ts.ReadFile(path))
	for line := range bytes.Lines(data[:bytes.LastIndexByte(data, '\n')+1]) {
		var v T
		ts.Check(json.Unmarshal(line, &v))
		each(v)
	}
}
