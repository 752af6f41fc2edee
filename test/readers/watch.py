"""Reads datasets again and again with Polars and ClickHouse (chdb) until standard input ends,
while others write them, and prints each read as a JSON line, as test/duckdb/watch.mjs does:

    python watch.py DATA_DIR PAUSE_MS
    {"reader": ..., "table": ..., "rows": n, "twice": n, "again": n, "error": "..."}

twice are rows whose key another has. again counts the attempts that met a part which was
replaced between the listing and the opening; what fails otherwise, or each time, has an
error. No reader is given an option, and every column is read.
"""

import json
import sys
import threading

import chdb
import polars

KEYS = {
    "discovery_events": ["id", "seq", "crawler_id"],
    "metadata_events": ["visit_id"],
    "validator_metadata_events": ["visit_id"],
    "visit_events": ["visit_id", "part"],
    "peer_estimates": ["id", "timestamp"],
}
ATTEMPTS = 5
REPLACED = ("No such file", "os error 2", "CANNOT_OPEN_FILE", "FILE_DOESNT_EXIST", "doesn't exist")


def read_polars(files, keys):
    rows = polars.scan_parquet(files).collect()
    return rows.height, rows.height - rows.select(keys).n_unique() if rows.height else 0


def read_clickhouse(files, keys):
    sql = (
        f"SELECT count(), count() - uniqExact({', '.join(f'ifNull(toString({k}), char(0))' for k in keys)}), "
        f"max(cityHash64(toString(tuple(*)))) FROM file('{files}', Parquet)"
    )
    rows, twice, _ = json.loads(str(chdb.query(sql, "JSONCompact")))["data"][0]
    return int(rows), int(twice)


def read(reader, table, files):
    for again in range(ATTEMPTS):
        try:
            rows, twice = READERS[reader](files, KEYS[table])
            return {"reader": reader, "table": table, "rows": rows, "twice": twice, "again": again}
        except Exception as err:  # whatever a reader raises is what a user would see
            if again + 1 == ATTEMPTS or not any(text in str(err) for text in REPLACED):
                return {"reader": reader, "table": table, "rows": 0, "twice": 0, "again": again, "error": str(err)[:1000]}


READERS = {"polars": read_polars, "clickhouse": read_clickhouse}


def main():
    directory, pause = sys.argv[1], float(sys.argv[2]) / 1000
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        for table in KEYS:
            for reader in READERS:
                print(json.dumps(read(reader, table, f"{directory}/{table}.parquet/*.parquet")), flush=True)
        ended.wait(pause)


main()
