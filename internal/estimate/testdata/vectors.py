"""Makes vectors.json: 1,000 peers' observations and what a reference estimator, a plain
Python program that knows nothing of this one, makes of them.

    python3 vectors.py PATH/estimator.py > vectors.json

The reference's largest node is raised to 100,000 validators, as this one's is.
"""
import json, random, sys, types

source = open(sys.argv[1]).read().replace("VMAX = 25000", "VMAX = 100000")
ref = types.ModuleType("reference")
exec(compile(source, sys.argv[1], "exec"), ref.__dict__)

rng = random.Random(20261122)
out = []
for i in range(1000):
    client = rng.choice(ref.MIX)
    v = ref.draw_prior(rng) if i % 2 else rng.randrange(0, 2000)
    obs, _ = ref.simulate(rng, min(v, 30000), 1 / 28, client, rng.choice([1, 3, 20, 60]), rng.choice(["event", "snapshot"]))
    cgc = ref.sim_cgc(rng, v, client) if rng.random() < 0.6 else None
    unc = 0.05 if i % 10 == 0 else 0.0
    r = ref.estimate(obs, cgc, client, unc)
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
