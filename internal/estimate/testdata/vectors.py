"""Makes vectors.json: 1,000 peers' observations and what a reference estimator, a plain
Python program that knows nothing of this one, makes of them.

    python3 vectors.py PATH/estimator.py > vectors.json

The reference's grid, prior, duties and windows are used, with the largest node raised to
100,000 validators. What it has not is added here: nodes that show every duty or none, custody
group counts that are smeared or stale by an earlier stake.
"""
import json, math, random, sys, types

source = open(sys.argv[1]).read().replace("VMAX = 25000", "VMAX = 100000")
ref = types.ModuleType("reference")
exec(compile(source, sys.argv[1], "exec"), ref.__dict__)

G = ref.GRID
AGGREGATORS, EPS = 1 / 28, 0.003
HABITS = {"window": 0.992, "every": 0.005, "silent": 0.003}
UNLIKELY = 1e-5


def normal_below(x, mean, sd):
    return 0.5 * (1 + math.erf((x - mean) / sd / math.sqrt(2)))


def required_table(stake):
    """P(required count) of about so much stake."""
    if stake == 0:
        return {4: 1.0}
    out = {ref.cgc_required(stake): 0.6}
    mean, sd = 1.015 * stake, max(0.5, 0.03 * stake)
    for c in range(8, 129):
        high = 1 if c == 128 else normal_below(c + 0.5, mean, sd)
        low = 0 if c == 8 else normal_below(c - 0.5, mean, sd)
        out[c] = out.get(c, 0) + 0.4 * (high - low)
    return out


def stale_table(now):
    past = {128: 0.4}
    scale = 0.6 / sum(1 / c for c in range(9, 128))
    past.update({c: scale / c for c in range(9, 128)})
    past = {c: w for c, w in past.items() if c > now}
    total = sum(past.values())
    return {c: w / total for c, w in past.items()}


def count_table(stake, under):
    """P(count) of a node with a stake in units of 32 ETH."""
    now = 4 if stake == 0 else ref.cgc_required(stake)
    stale = 0 if now == 128 else ref.P_STALE
    out = {}
    add = lambda c, w: out.__setitem__(c, out.get(c, 0) + w)
    add(128, ref.P_SUPER)
    add(max(64, now), ref.P_SEMI)
    rest = 1 - ref.P_SUPER - ref.P_SEMI
    add(4, rest * (under - 0.03 * 0.4))
    for c, w in stale_table(now).items():
        add(c, rest * stale * w)
    if stake == 0:
        add(8, 0.008)
    for c, w in required_table(stake).items():
        add(c, rest * (1 - stale - under) * w)
    return out


TABLES = {u: [count_table(s, u) for s in range(257)] for u in (0.03, 0.40)}


def custody(v, count, under):
    at = lambda stake: TABLES[under][min(stake, 256)].get(count, 0)
    return 0.85 * at(v) + sum(0.15 / 9 * at(int(v * r)) for r in ref.RHO) + UNLIKELY


def log_cells(pool, factor):
    out = [0.0] * len(G)
    for (theta, n), (on, off) in pool.items():
        rate = math.log1p(-min(0.999999, theta * factor))
        for i, v in enumerate(G):
            empty = (1 - EPS / n) * math.exp(v * rate)
            out[i] += on * math.log(max(1 - empty, 1e-300)) + off * math.log(max(empty, 1e-300))
    return out


def estimate(obs, count, client, unc):
    pool = {}
    for o in obs:
        c = pool.setdefault((o.theta, o.n), [0, 0])
        c[0] += o.k
        c[1] += o.n - o.k
    zs = (-1.5, -0.75, 0, 0.75, 1.5) if unc else (0,)
    total = sum(math.exp(-z * z / 2) for z in zs)
    logs = [[math.log(HABITS["window"] * math.exp(-z * z / 2) / total) + l for l in log_cells(pool, 1 + z * unc)] for z in zs]
    logs.append([math.log(HABITS["every"]) + l for l in log_cells(pool, 1 / AGGREGATORS)])
    none = log_cells(pool, 0)[0]
    logs.append([math.log(HABITS["silent"]) + none] * len(G))
    under = 0.40 if client == "nimbus" else 0.03
    rest = [ref.LOGPRIOR[i] + (math.log(custody(v, count, under)) if count else 0) for i, v in enumerate(G)]
    most = max(l + rest[i] for part in logs for i, l in enumerate(part))
    w = [sum(math.exp(part[i] + rest[i] - most) for part in logs) for i in range(len(G))]
    total = sum(w)
    w = [x / total for x in w]
    cdf, acc = [], 0.0
    for x in w:
        acc += x
        cdf.append(acc)
    def at(q):
        return next((i for i, c in enumerate(cdf) if c >= q), len(G) - 1)
    l, h = at(0.05), at(0.95)
    low = G[l] if G[l] <= 200 else (G[l - 1] + G[l]) / 2
    high = G[h] if G[h] < 200 or h + 1 == len(G) else (G[h] + G[h + 1]) / 2
    return {"median": G[at(0.5)], "lo": low, "hi": high, "p_validator": 1 - w[0], "mean": sum(v * x for v, x in zip(G, w))}


rng = random.Random(20261122)
out = []
for i in range(1000):
    client = rng.choice(ref.MIX)
    v = ref.draw_prior(rng) if i % 2 else rng.randrange(0, 2000)
    obs, _ = ref.simulate(rng, min(v, 30000), 1 / 28, client, rng.choice([1, 3, 20, 60]), rng.choice(["event", "snapshot"]))
    cgc = ref.sim_cgc(rng, v, client) if rng.random() < 0.6 else None
    unc = 0.05 if i % 10 == 0 else 0.0
    r = estimate(obs, cgc, client, unc)
    sums = {}
    for o in obs:
        w = round(o.theta * 28 * 32 * 64)                 # slots that a cell covers
        s = sums.setdefault((o.n, w), [0, 0])
        s[0] += o.k
        s[1] += o.n - o.k
    out.append({"client": client, "cgc": cgc or 0, "unc": unc,
                "obs": [[n, w, k, e] for (n, w), (k, e) in sorted(sums.items())],
                "median": r["median"], "low": r["lo"], "high": r["hi"],
                "mean": r["mean"], "p": r["p_validator"]})
print("[" + ",\n".join(json.dumps(x) for x in out) + "]")
