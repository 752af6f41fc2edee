"""Recomputes vectors.json: 1,000 peers' observations, which a simulation made once and which stay
as they are, and what this plain Python program, which shares no code with the estimator, makes
of them. Run it in this directory after a change of a constant below:

    python3 vectors.py
"""
import json, math

# The constants of the estimator that matter here, by their places in internal/estimate.
AGGREGATORS = 1 / 28  # by referenceParams in reference_test.go
MOST, EXACT, STEP = 100_000, 200, 1.011  # grid.go
BANDS = [(0, 0, 0.45), (1, 8, 0.23), (9, 127, 0.13), (128, MOST, 0.19)]  # referencePrior in reference_test.go
SPURIOUS = 0.003  # model.go
HABITS = {"window": 0.992, "every": 0.005, "silent": 0.003}  # habits.go
DEVIATIONS = (-1.5, -0.75, 0, 0.75, 1.5)  # posterior.go
# custody.go
SUPERNODE, SEMI_SUPERNODE, STALE = 0.08, 0.01, 0.05
UNDER_REPORT, EXTERNAL, ABSENT = 0.03, 0.40, 0.40
COMPOUNDING, MULTIPLES = 0.15, [1.5, 2, 3, 4, 6, 8, 16, 32, 64]
SMEARED, SMEAR_MEAN, SMEAR_SD = 0.4, 0.015, 0.03
FORMER, UNLIKELY = 0.008, 1e-5
EARLIER_SUPERNODE = 0.4  # of stale counts: 128


def grid():
    g, v = list(range(EXACT + 1)), EXACT + 1.0
    while v < MOST:
        g.append(round(v))
        v *= STEP
    return sorted(set(g))


G = grid()


def log_prior():
    ends = [1] + [(a + b) / 2 for a, b in zip(G, G[1:])] + [G[-1]]
    weight = [max(1.0, ends[i + 1] - ends[i]) / max(v, 1) for i, v in enumerate(G)]
    out = [0.0] * len(G)
    for low, high, share in BANDS:
        inside = [i for i, v in enumerate(G) if low <= v <= high]
        total = sum(weight[i] for i in inside)
        for i in inside:
            out[i] = math.log(share * weight[i] / total)
    return out


LOG_PRIOR = log_prior()


def required(stake):
    """The custody group count that a stake in units of 32 ETH requires."""
    return min(max(int(stake), 8), 128)


def normal_below(x, mean, sd):
    return 0.5 * (1 + math.erf((x - mean) / sd / math.sqrt(2)))


def required_table(stake):
    """P(required count) of about so much stake."""
    if stake == 0:
        return {4: 1.0}
    out = {required(stake): 1 - SMEARED}
    mean, sd = (1 + SMEAR_MEAN) * stake, max(0.5, SMEAR_SD * stake)
    for c in range(8, 129):
        high = 1 if c == 128 else normal_below(c + 0.5, mean, sd)
        low = 0 if c == 8 else normal_below(c - 0.5, mean, sd)
        out[c] = out.get(c, 0) + SMEARED * (high - low)
    return out


def stale_table(now):
    past = {128: EARLIER_SUPERNODE}
    scale = (1 - EARLIER_SUPERNODE) / sum(1 / c for c in range(9, 128))
    past.update({c: scale / c for c in range(9, 128)})
    past = {c: w for c, w in past.items() if c > now}
    total = sum(past.values())
    return {c: w / total for c, w in past.items()}


def count_table(stake, under):
    """P(count) of a node with a stake in units of 32 ETH."""
    now = 4 if stake == 0 else required(stake)
    stale = 0 if now == 128 else STALE
    out = {}
    add = lambda c, w: out.__setitem__(c, out.get(c, 0) + w)
    add(128, SUPERNODE)
    add(max(64, now), SEMI_SUPERNODE)
    rest = 1 - SUPERNODE - SEMI_SUPERNODE
    add(4, rest * (under - UNDER_REPORT * ABSENT))
    for c, w in stale_table(now).items():
        add(c, rest * stale * w)
    if stake == 0:
        add(8, FORMER)
    for c, w in required_table(stake).items():
        add(c, rest * (1 - stale - under) * w)
    return out


TABLES = {u: [count_table(s, u) for s in range(257)] for u in (UNDER_REPORT, EXTERNAL)}


def custody(v, count, under):
    at = lambda stake: TABLES[under][min(stake, 256)].get(count, 0)
    return (1 - COMPOUNDING) * at(v) + sum(COMPOUNDING / len(MULTIPLES) * at(int(v * r)) for r in MULTIPLES) + UNLIKELY


def log_cells(pool, factor):
    out = [0.0] * len(G)
    for theta, n, on, off in pool:
        rate = math.log1p(-min(0.999999, theta * factor))
        for i, v in enumerate(G):
            empty = (1 - SPURIOUS / n) * math.exp(v * rate)
            out[i] += on * math.log(max(1 - empty, 1e-300)) + off * math.log(max(empty, 1e-300))
    return out


def estimate(pool, count, client, unc):
    zs = DEVIATIONS if unc else (0,)
    total = sum(math.exp(-z * z / 2) for z in zs)
    logs = [[math.log(HABITS["window"] * math.exp(-z * z / 2) / total) + l for l in log_cells(pool, 1 + z * unc)] for z in zs]
    logs.append([math.log(HABITS["every"]) + l for l in log_cells(pool, 1 / AGGREGATORS)])
    none = log_cells(pool, 0)[0]
    logs.append([math.log(HABITS["silent"]) + none] * len(G))
    under = EXTERNAL if client == "nimbus" else UNDER_REPORT
    rest = [LOG_PRIOR[i] + (math.log(custody(v, count, under)) if count else 0) for i, v in enumerate(G)]
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
    low = G[l] if G[l] <= EXACT else (G[l - 1] + G[l]) / 2
    high = G[h] if G[h] < EXACT or h + 1 == len(G) else (G[h] + G[h + 1]) / 2
    return {"median": G[at(0.5)], "low": low, "high": high, "mean": sum(v * x for v, x in zip(G, w)), "p": 1 - w[0]}


vectors = json.load(open("vectors.json"))
for v in vectors:
    # Each observation: its cells, the slots that one covers, filled, empty.
    pool = [(slots * AGGREGATORS / (32 * 64), n, on, off) for n, slots, on, off in v["obs"]]
    v.update(estimate(pool, v["cgc"], v["client"], v["unc"]))
with open("vectors.json", "w") as file:
    file.write("[" + ",\n".join(json.dumps(v) for v in vectors) + "]\n")
