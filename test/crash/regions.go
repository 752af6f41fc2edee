package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// Three regions, each a network namespace with a nats-server of one JetStream cluster and a
// sentry; two consumers with a durable and a data directory each, in the first two regions. The
// namespaces are joined by a bridge in that of this process, which must be its own: a region is
// cut off by taking its link down.
type regions struct {
	programs
	dir       string
	holders   []*exec.Cmd // keep the namespaces
	procs     map[role]*process
	consumers [2]*world               // their directories, and what was published
	boots     uint64                  // of all sentries so far
	boot      [regionCount + 1]uint64 // of each region's
	copies    *copies                 // nil without
}

const (
	regionCount = 3
	// regionNet is the network of the bridge, whose own address is hostAddress.
	regionNet, hostAddress = "10.77.0.", "10.77.0.100/24"
	regionReplicas         = 3
)

func serverOf(region int) role   { return role(fmt.Sprintf("nats-server-%d", region)) }
func sentryOf(region int) role   { return role(fmt.Sprintf("sentry-%d", region)) }
func consumerOf(region int) role { return role(fmt.Sprintf("consumer-%d", region)) }

func addressOf(region int) string { return regionNet + strconv.Itoa(region) }

// newRegions makes the namespaces. Nothing runs yet.
func newRegions(ctx context.Context, p programs, dir string, rate, peers int) (*regions, error) {
	r := &regions{programs: p, dir: dir, procs: map[role]*process{}}
	err := ipCommand(ctx, "link set lo up", "link add br0 type bridge", "addr add "+hostAddress+" dev br0", "link set br0 up")
	for i := 1; err == nil && i <= regionCount; i++ {
		err = r.addRegion(ctx, i)
	}
	if err != nil {
		return r, err
	}
	for i := range r.consumers {
		name := plainName + strconv.Itoa(i+1)
		w := &world{programs: p, dir: dir, data: filepath.Join(dir, name), rate: rate, peers: peers}
		if err := errors.Join(os.MkdirAll(w.data, 0o755), os.MkdirAll(w.points(), 0o755), os.MkdirAll(w.published(), 0o755)); err != nil {
			return r, err
		}
		r.consumers[i] = w
	}
	return r, nil
}

func ipCommand(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}

func (r *regions) addRegion(ctx context.Context, i int) error {
	holder := exec.CommandContext(ctx, "unshare", "-n", "sleep", "infinity")
	if err := holder.Start(); err != nil {
		return err
	}
	r.holders = append(r.holders, holder)
	pid := strconv.Itoa(holder.Process.Pid)
	own, err := os.Readlink("/proc/self/ns/net")
	for deadline := time.Now().Add(askPatience); err == nil; { // until it has its own namespace
		var theirs string
		if theirs, err = os.Readlink("/proc/" + pid + "/ns/net"); err == nil && theirs != own {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("region %d has no network namespace of its own", i)
		}
		err = errors.Join(err, pause(ctx, drainPoll))
	}
	link := linkOf(i)
	if err := errors.Join(err, ipCommand(ctx, "link add "+link+" type veth peer name eth0 netns "+pid, "link set "+link+" master br0", "link set "+link+" up")); err != nil {
		return err
	}
	for _, line := range []string{"addr add " + addressOf(i) + "/24 dev eth0", "link set eth0 up", "link set lo up"} {
		args := append([]string{"-t", pid, "-n", "ip"}, strings.Fields(line)...)
		if out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}

func linkOf(region int) string { return "region" + strconv.Itoa(region) }

// cut takes a region's link down, and join brings it up again.
func (r *regions) cut(ctx context.Context, region int) error {
	return ipCommand(ctx, "link set "+linkOf(region)+" down")
}

func (r *regions) join(ctx context.Context, region int) error {
	return ipCommand(ctx, "link set "+linkOf(region)+" up")
}

// within has a program run in a region.
func (r *regions) within(region int, p program) program {
	pid := strconv.Itoa(r.holders[region-1].Process.Pid)
	return program{path: "nsenter", args: append([]string{"-t", pid, "-n", p.path}, p.args...), env: p.env}
}

// url names the servers, a region's own first, all for region 0.
func (r *regions) url(region int) string {
	var list []string
	for i := 1; i <= regionCount; i++ {
		u := "nats://" + addressOf(i) + ":4222"
		if i == region {
			list = slices.Insert(list, 0, u)
		} else {
			list = append(list, u)
		}
	}
	return strings.Join(list, ",")
}

// roles are all that run, servers and stores first.
func (r *regions) roles() (out []role) {
	for i := 1; i <= regionCount; i++ {
		out = append(out, serverOf(i))
	}
	if r.copies != nil {
		out = append(out, clickhouseRole, objectsRole)
	}
	for i := 1; i <= regionCount; i++ {
		out = append(out, sentryOf(i))
	}
	for i := range r.consumers {
		out = append(out, consumerOf(i+1))
	}
	return out
}

// start starts a role, which ends with the number of its region unless it is a copy's.
func (r *regions) start(ctx context.Context, who role) (err error) {
	if r.copies.has(who) {
		return r.copies.start(ctx, who)
	}
	at := strings.LastIndexByte(string(who), '-')
	region, err := strconv.Atoi(string(who[at+1:]))
	if err != nil {
		return err
	}
	switch who {
	case serverOf(region):
		var routes []string
		for i := 1; i <= regionCount; i++ {
			if i != region {
				routes = append(routes, "nats://"+addressOf(i)+":6222")
			}
		}
		r.procs[who], err = r.within(region, r.server).start(ctx, r.dir, string(who), "-js", "-a", addressOf(region), "-p", "4222", "-sd", filepath.Join(r.dir, string(who)),
			"-n", string(who), "-cluster_name", "regions", "-cluster", "nats://"+addressOf(region)+":6222", "-routes", strings.Join(routes, ","))
	case sentryOf(region):
		r.procs[who], err = r.startSentry(ctx, region, r.consumers[0].rate)
	default:
		args := append([]string{"consumer", "--nats", r.url(region), "--stream-replicas", strconv.Itoa(regionReplicas),
			"--data-dir", r.consumers[region-1].data, "--name", string(who), "--segment-age", segmentAge.String(), "--compact-every", compactEvery.String(), "--http", ""}, r.copies.options(who)...)
		r.procs[who], err = r.within(region, r.copies.environ(r.valtrack)).start(ctx, r.dir, string(who), args...)
	}
	return err
}

func (r *regions) startSentry(ctx context.Context, region, rate int) (*process, error) {
	r.boots++
	r.boot[region] = r.boots
	who := string(sentryOf(region))
	return r.within(region, r.sentry).start(ctx, r.dir, who, "-dir", r.consumers[0].published(), "-nats", r.url(region), "-replicas", strconv.Itoa(regionReplicas),
		"-boot", strconv.FormatUint(r.boots, 10), "-rate", strconv.Itoa(rate), "-peers", strconv.Itoa(r.consumers[0].peers), "-name", who, "-spool", filepath.Join(r.dir, who, "spool"))
}

// longestDown is how long a role may be dead in a round: two servers that are away for ten minutes
// would leave a cluster that can do nothing.
const longestDown = 3 * time.Second

// round kills a role, and cuts a region off for a time unless that is 0; then everything is as before.
func (r *regions) round(ctx context.Context, victim role, region int, off time.Duration) error {
	if off > 0 {
		if err := r.cut(ctx, region); err != nil {
			return err
		}
	}
	r.kill(victim)
	down := min(max(off, time.Second), longestDown)
	err := errors.Join(pause(ctx, down), r.start(ctx, victim), pause(ctx, off-down))
	if off > 0 {
		err = errors.Join(err, r.join(ctx, region))
	}
	return err
}

func (r *regions) kill(who role) {
	if r.copies.has(who) {
		r.copies.kill(who)
		return
	}
	r.procs[who].kill()
}

func (r *regions) check() (err error) {
	for _, p := range r.procs {
		err = errors.Join(err, p.check())
	}
	return err
}

func (r *regions) killAll() {
	for _, p := range r.procs {
		p.kill()
	}
	r.copies.killAll()
	for _, h := range r.holders {
		_ = h.Process.Kill()
		_ = h.Wait()
	}
}

// drain stops the sentries, has the spools sent, waits until both consumers have stored and copied
// everything, and stops them.
func (r *regions) drain(ctx context.Context) error {
	for i := 1; i <= regionCount; i++ {
		running := r.procs[sentryOf(i)]
		if err := awaitPublished(ctx, r.consumers[0].published(), r.boot[i], running); err != nil {
			return err
		}
		if err := running.stop(patienceOfRegions); err != nil {
			return err
		}
		delete(r.procs, sentryOf(i))
		last, err := r.startSentry(ctx, i, 0)
		if err != nil {
			return err
		}
		if err := last.wait(regionPatience); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(regionPatience); ; {
		left, err := r.left(ctx)
		if err == nil && left == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the consumers have %d messages left, %w\n%s", left, err, r.procs[consumerOf(1)].tail())
		}
		if err := errors.Join(r.check(), pause(ctx, healthPoll)); err != nil {
			return err
		}
	}
	if err := r.awaitCopies(ctx); err != nil {
		return err
	}
	for i := range r.consumers {
		who := consumerOf(i + 1)
		if err := r.procs[who].stop(patienceOfRegions); err != nil {
			return err
		}
		delete(r.procs, who)
	}
	return nil
}

// regionPatience bounds the storing of what is under way at the end: a region that was cut off for
// ten minutes has 180,000 events to send, which a busy machine takes long for.
const regionPatience = 20 * time.Minute

// patienceOfRegions is how long a process may take to end after SIGTERM.
const patienceOfRegions = 30 * time.Second

// left is how many messages the two durables have not acknowledged.
func (r *regions) left(ctx context.Context) (n uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	conn, err := nats.Connect(r.url(0))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return 0, err
	}
	for i := range r.consumers {
		c, err := js.Consumer(ctx, event.Stream, string(consumerOf(i+1)))
		if err != nil {
			return n, err
		}
		info := c.CachedInfo()
		lag := bus.Lag{Pending: info.NumPending, AckPending: info.NumAckPending}
		n += lag.Pending + uint64(lag.AckPending)
	}
	return n, nil
}

// tableSum is what two stores of the same events must agree in.
type tableSum struct {
	rows  int
	times int64 // the sum of the timestamps
}

// store is where events end.
type store struct {
	name string
	// own is the number of the consumer whose rows it has.
	own  int
	sums func(context.Context) (map[string]tableSum, error)
}

// stores are all that must hold the same, of each consumer the datasets first.
func (r *regions) stores() (list []store) {
	for i, w := range r.consumers {
		list = append(list, store{w.data, i + 1, func(ctx context.Context) (map[string]tableSum, error) { return datasetSums(ctx, w.data) }})
		list = append(list, r.copies.stores(i+1)...)
	}
	return list
}

func datasetSums(ctx context.Context, dir string) (map[string]tableSum, error) {
	out := map[string]tableSum{}
	for _, table := range dataset.Tables() {
		s := tableSum{}
		err := dataset.ScanTable(ctx, dir, table, dataset.Range{}, func(r dataset.Row) error {
			s = tableSum{s.rows + 1, s.times + r.At()}
			return nil
		})
		if err != nil {
			return nil, err
		}
		out[table] = s
	}
	return out, nil
}
