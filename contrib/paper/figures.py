"""The five figures of a paper about a network, from a data directory of Valtrack.

    python figures.py DATA OUT [--format pdf|png|svg]

Reads the hourly totals in tracker.db and the datasets, also while a consumer writes to them, and
prints the numbers that it draws. "Validators" are attachments: one that runs behind several nodes
counts on each. Intervals are 90 % ones. Cells begin with "# %%": editors such as VS Code run them
one by one; there it reads ./data and writes to ./figures.
"""

# %% What to read and where to write
import argparse
import json
import sqlite3
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import matplotlib
import numpy as np

notebook = "ipykernel" in sys.modules
if not notebook:
    matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

parser = argparse.ArgumentParser(prog="figures.py", description=__doc__.split("\n\n")[0])
parser.add_argument("data", metavar="DATA", type=Path, help="data directory of a consumer, or of valtrack run")
parser.add_argument("out", metavar="OUT", type=Path, help="directory for the figures; made if it is missing")
parser.add_argument("--format", choices=["pdf", "png", "svg"], default="pdf", help="of the figures (default pdf)")
args = parser.parse_args(["data", "figures"] if notebook else None)
data, out = args.data, args.out

plt.rcParams.update({
    "figure.figsize": (7, 3.4), "figure.constrained_layout.use": True, "font.size": 8, "axes.grid": True, "grid.alpha": 0.3,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "savefig.dpi": 200, "pdf.fonttype": 42,
})


def parts(table):
    """The files of a dataset."""
    files = sorted(map(str, (data / f"{table}.parquet").glob("*.parquet")))
    if not files:
        parser.error(f"there is no dataset {table} in {str(data)!r}: DATA is the --data-dir of a consumer or of valtrack run that has stored something")
    return files


def save(figure, name):
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.{args.format}"
    figure.savefig(path)
    plt.close(figure)
    print(f"\n# {path}")


def table(*header):
    """Prints rows, tab-separated, under a header."""
    print(*header, sep="\t")
    return lambda *row: print(*("" if v is None else f"{v:.4g}" if isinstance(v, float) and abs(v) < 1 else f"{v:.1f}" if isinstance(v, float) else v for v in row), sep="\t")


def when(ms):
    return datetime.fromtimestamp(ms / 1000, timezone.utc)


def some(rows, most=12):
    """Rows to print: all, or evenly spaced ones with the first and the last."""
    return rows if len(rows) <= most else [rows[i] for i in np.linspace(0, len(rows) - 1, most).astype(int)]


def times(axes, label):
    """A time axis; one hour alone is a point."""
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set(ylabel=label, ylim=(0, None), xlabel="UTC")


# %% Hourly totals: what the estimator stored, with intervals that have the errors which nodes share
def totals():
    path = data / "tracker.db"
    if not path.exists():
        parser.error(f"there is no tracker.db in {str(data)!r}, which has the hourly totals: valtrack rebuild makes it of the datasets")
    keep = "hour", "nodes", "with_validators", "validators", "validators_low", "validators_high", "clients", "next_digests"
    uri = f"{path.resolve().as_uri()}?mode=ro"
    if not Path(f"{path}-wal").exists():  # no process has it open: a copy on a read-only disk can be read, too
        uri += "&immutable=1"
    db = sqlite3.connect(uri, uri=True)
    try:
        rows = [{k: t.get(k) for k in keep} for t in map(json.loads, (d for (d,) in db.execute("SELECT data FROM totals ORDER BY hour")))]
    except sqlite3.Error as error:
        parser.error(f"{str(path)!r}: {error}")
    finally:
        db.close()
    if not rows:
        parser.error(f"{str(path)!r} has no hourly totals: valtrack rebuild makes those of past hours from the events, as after an import; without it the network is not estimated, or nothing has completed a handshake")
    return rows


hours = totals()
last = hours[-1]
mark = "o" if len(hours) == 1 else None
# Lines are interrupted where hours are missing, which is where no events came.
starts = np.array([h["hour"] for h in hours])
gaps = np.flatnonzero(np.diff(starts) > 2.5 * np.median(np.diff(starts))) + 1 if len(starts) > 1 else np.array([], dtype=int)
at = [when(ms) for ms in np.insert(starts, gaps, starts[gaps - 1] + 1)]


def by_hour(values):
    """The values of all hours, None for none, as they are drawn at `at`."""
    return np.insert(np.array(values, dtype=float), gaps, np.nan)


# %% The datasets, within 1 GB of memory: what needs more goes to a temporary directory
files = {name: parts(name) for name in ("peer_estimates", "validator_metadata_events")}
scratch = tempfile.TemporaryDirectory(prefix="figures-")
db = duckdb.connect(config={"memory_limit": "1GB", "temp_directory": scratch.name, "preserve_insertion_order": False})
for name, list_of in files.items():
    db.read_parquet(list_of, union_by_name=True, hive_partitioning=False).create_view(name)


def query(sql, **parameters):
    try:
        return db.execute(sql, parameters or None).fetchall()
    except duckdb.IOException as error:  # the consumer has merged the part with others meanwhile
        parser.exit(1, f"figures.py: {error}\nRun it again: a part was merged with others, or cannot be read (valtrack check data).\n")


# %% 1. Nodes and validators over time
figure, (left, right) = plt.subplots(1, 2)
left.plot(at, by_hour([h["nodes"] for h in hours]), marker=mark, label="completed a handshake within a day")
left.plot(at, by_hour([h["with_validators"] for h in hours]), marker=mark, label="of them with validators (expected)")
times(left, "nodes")
left.legend(loc="lower right")
low, high = (by_hour([h[f"validators_{end}"] for h in hours]) for end in ("low", "high"))
right.plot(at, by_hour([h["validators"] for h in hours]), marker=mark, label="mean")
right.fill_between(at, low, high, alpha=0.25, label="90 % interval")
if mark:
    right.vlines(at, low, high)
times(right, "validators")
right.legend(loc="lower right")
save(figure, "1-network")
row = table("hour", "nodes", "with_validators", "validators", "validators_low", "validators_high")
for h in some(hours):
    row(h["hour"], h["nodes"], *(float(h[k]) for k in ("with_validators", "validators", "validators_low", "validators_high")))

# %% 2. Client shares: of the nodes over time, and of the validators in the last hour
clients = sorted(last["clients"], key=lambda c: -c["nodes"])
names = [c["client"] for c in clients]
names += sorted({c["client"] for h in hours for c in h["clients"]} - set(names))
colours = dict(zip(names, plt.get_cmap("tab20")(np.arange(len(names)) % 20)))
counted = [{c["client"]: c["nodes"] for c in h["clients"]} for h in hours]
shares = [by_hour([100 * nodes.get(name, 0) / max(1, sum(nodes.values())) for nodes in counted]) for name in names]
figure, (left, right) = plt.subplots(1, 2)
if mark:
    left.bar(names, [s[0] for s in shares], color=[colours[n] for n in names])
    left.tick_params(axis="x", rotation=45)
    left.set(ylabel="% of nodes")
else:
    left.stackplot(at, shares, colors=[colours[n] for n in names], labels=names)
    times(left, "% of nodes")
    left.set(ylim=(0, 100))
    figure.legend(loc="outside lower center", ncols=8)
for y, c in enumerate(clients):
    right.plot([c["validators_low"], c["validators_high"]], [y, y], color=colours[c["client"]], linewidth=2)
    right.plot(c["validators"], y, "o", color=colours[c["client"]])
right.set(yticks=range(len(clients)), yticklabels=[c["client"] for c in clients], xlabel=f"validators, 90 % interval, {when(last['hour']):%Y-%m-%d %H:%M} UTC", xlim=(0, None))
right.invert_yaxis()
save(figure, "2-clients")
row = table("client", "nodes", "% of nodes", "validators", "validators_low", "validators_high")
for c in clients:
    row(c["client"], c["nodes"], 100.0 * c["nodes"] / max(1, last["nodes"]), *(float(c[k]) for k in ("validators", "validators_low", "validators_high")))

# %% 3. Concentration: how much the largest countries, networks, clouds and clients hold together
# The whole is all nodes, and all estimated validators, also those of which the place is not known or that
# are in no cloud: so the index is a lower bound, and a curve may end below 100 %. Shares have no
# interval here: `valtrack report --by country` computes them.
held = query("""
    WITH node AS (
        SELECT unnest([{'by': 'country', 'holder': coalesce(geo_country_code, geo_country)}, {'by': 'network', 'holder': 'AS' || geo_autonomous_system_number},
                       {'by': 'cloud', 'holder': geo_cloud}, {'by': 'client', 'holder': nullif(client, 'unknown')}], recursive := true),
               validators_mean * coalesce(weight, 1) AS validators
        FROM peer_estimates WHERE timestamp = $hour AND client <> 'valtrack')
    SELECT "by", holder, count(*), sum(validators) FROM node GROUP BY ALL""", hour=last["hour"])
if not held:
    parser.error(f"peer_estimates in {str(data)!r} has no rows of the last hour in tracker.db, {when(last['hour']):%Y-%m-%d %H:%M} UTC: valtrack rebuild makes that file of the datasets")
figure, panels = plt.subplots(1, 2, sharey=True)
concentration = []
for panel, what in zip(panels, ("nodes", "validators")):
    for by in ("country", "network", "cloud", "client"):
        amounts = [(h[1], h[2] if what == "nodes" else h[3]) for h in held if h[0] == by]
        whole = sum(a for _, a in amounts)
        ranked = sorted(((a, holder) for holder, a in amounts if holder is not None), reverse=True)
        share = np.array([a for a, _ in ranked]) / whole if whole > 0 else np.zeros(0)
        together = np.cumsum(share)
        reach = [int(np.argmax(together >= limit - 1e-9)) + 1 if len(together) and together[-1] >= limit - 1e-9 else None for limit in (1 / 3, 2 / 3)]
        if len(share):
            panel.plot(range(1, len(share) + 1), 100 * together, marker="." if len(share) < 50 else None, label=by)
        concentration.append((by, what, ranked[0][1] if len(share) else None, 100 * float(share[0]) if len(share) else None, float(10_000 * np.sum(share**2)), *reach))
    panel.axhline(100 / 3, color="grey", linewidth=0.8, linestyle="--")
    panel.set(xscale="log", xlabel="number of the largest", title=f"of all {what}", ylim=(0, 102))
panels[0].set(ylabel="% together")
panels[1].legend(loc="lower right")
save(figure, "3-concentration")
row = table("by", "share of", "largest", "% of it", "HHI", "to a third", "to two thirds")
for c in concentration:
    row(*c)

# %% 4. Readiness for the next fork: the fork digest that the nodes' records announce as the next one
# Which of them is the right one says `valtrack report --forks`. 0x00000000 is no next fork, "none" are
# records without the entry; version@epoch is what records of before it announced. Hours whose
# totals were computed again from rows have none.
digests = [(h["hour"], h["next_digests"]) for h in hours if h["next_digests"]]
figure, axes = plt.subplots()
announced = sorted({d for _, n in digests for d in n}, key=lambda d: -sum(n.get(d, 0) for _, n in digests))
for d in announced:
    percent = by_hour([100 * n.get(d, 0) / sum(n.values()) if n else None for n in (h["next_digests"] for h in hours)])
    axes.plot(at, percent, marker="o" if len(digests) == 1 else None, label="no next fork" if d == "0x00000000" else d)
times(axes, "% of nodes that announce the next fork digest")
axes.set(ylim=(0, 102))
if digests:
    axes.legend()
else:
    axes.text(0.5, 0.5, "no announcements are stored", transform=axes.transAxes, ha="center")
save(figure, "4-forks")
row = table("hour", "next digest", "nodes", "% of nodes")
for hour, n in some(digests):
    for d in announced:
        if n.get(d):
            row(hour, d, n[d], 100.0 * n[d] / sum(n.values()))

# %% 5. Validators per node in the last hour, and how long nodes stay
# Left: nodes with at least so many validators. The band is by the ends of the nodes' own 90 %
# intervals: as if all were at the same end at once, so it is wider than that of the count.
# Right: Kaplan-Meier, with Greenwood's 90 % interval. A node is gone when nobody completed a handshake
# with it in the last tenth of the time that was recorded (a day at most, six epochs at least); whoever
# was there in it may stay longer. Nodes that were there before the recording began count from its
# beginning, and a time without a sentry looks like nodes that stayed. A day of mainnet has 225 epochs.
ends = ("validators", "validators_low", "validators_high")
counts = {end: query(f"SELECT {end}, count(*) FROM peer_estimates WHERE timestamp = $hour AND client <> 'valtrack' GROUP BY 1", hour=last["hour"]) for end in ends}
stays = query("""
    WITH node AS (SELECT id, min(epoch) AS first, max(epoch) AS last FROM validator_metadata_events
                  WHERE clock_error_ms IS NULL AND client <> 'valtrack' GROUP BY id),
         span AS (SELECT min(first) AS first, max(last) AS last FROM node)
    SELECT node.last - node.first, count(*),
           count(*) FILTER (span.last - node.last >= greatest(6, least(225, (span.last - span.first) / 10)))
    FROM node, span GROUP BY 1 ORDER BY 1""")


def at_least(counts, x):
    values, nodes = np.array(counts, dtype=float).reshape(-1, 2).T
    return np.array([nodes[values >= v].sum() for v in np.atleast_1d(x)])


figure, (left, right) = plt.subplots(1, 2)
most = max(1.0, *(float(v) for end in ends for v, _ in counts[end]))
x = np.unique(np.round(np.logspace(0, np.log10(most), 200)))
line, *band = (at_least(counts[end], x) for end in ends)
left.step(x, line, where="post", label="median")
left.fill_between(x, *band, step="post", alpha=0.25, label="ends of the nodes' intervals")
left.set(xscale="log", xlabel="validators, or more", ylabel="nodes", ylim=(0, None))
left.legend()

lived, nodes, gone = np.array(stays, dtype=float).reshape(-1, 3).T
at_risk = nodes[::-1].cumsum()[::-1]
survival = np.cumprod(1 - gone / at_risk)
with np.errstate(divide="ignore", invalid="ignore"):
    error = 1.645 * survival * np.sqrt(np.cumsum(np.where(at_risk > gone, gone / (at_risk * (at_risk - gone)), 0)))
low, high = np.clip(survival - error, 0, 1), np.clip(survival + error, 0, 1)
from_start = lambda y, first: np.concatenate([[first], y])
right.step(from_start(lived, 0), from_start(100 * survival, 100), where="post")
right.fill_between(from_start(lived, 0), from_start(100 * low, 100), from_start(100 * high, 100), step="post", alpha=0.25)
right.set(xlabel="epochs since the first handshake", ylabel="% of nodes still there", ylim=(0, 102))
save(figure, "5-nodes")
row = table("validators, or more", "nodes", "nodes_low", "nodes_high")
for v in [1, 10, 100, 1000, 10_000]:
    if v <= most:
        row(v, *(int(at_least(counts[end], v)[0]) for end in ends))
row = table("epochs", "at risk", "gone", "% still there", "low", "high")
for s in some(list(zip(lived, at_risk, gone, survival, low, high))):
    row(*map(int, s[:3]), *(100 * float(v) for v in s[3:]))
scratch.cleanup()
