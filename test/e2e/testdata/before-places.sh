#!/bin/bash
# Writes before-places.tar.gz, beside this file: what an earlier version, of which $1 is a
# binary, leaves of a devnet of eight nodes. $2 is a nats-server.
set -euo pipefail
valtrack=$(realpath "$1") nats=$2 out=$(dirname "$(realpath "$0")")/before-places.tar.gz
work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT
cd "$work"
"$nats" -js -a 127.0.0.1 -p 14222 -sd nats 2>nats.log & pids+=($!)
"$valtrack" devnet --devnet-nodes 8 --devnet-slot 500ms --devnet-dir net >devnet.out 2>&1 & pids+=($!)
until grep -q '^network_dir\|network dir\|bootnodes' devnet.out; do sleep 0.2; done
"$valtrack" consumer --nats nats://127.0.0.1:14222 --data-dir data --network-dir net --segment-age 1s --compact-every 5s 2>consumer.log & consumer=$! pids+=($!)
sentry() { "$valtrack" sentry --network-dir net --data-dir "$1" --listen 127.0.0.1 --port 0 --quic-port 0 "${@:2}" 2>"$1.log" & pids+=($!); }
sentry first --nats nats://127.0.0.1:14222
until ls data/validator_metadata_events.parquet/part-????????-????????.parquet >/dev/null 2>&1; do sleep 0.2; done
sleep 20
kill -TERM "${pids[-1]}"; wait "${pids[-1]}" || true
sleep 2
kill -KILL "$consumer"; wait "$consumer" || true
sentry second
sleep 20
kill -TERM "${pids[-1]}"; wait "${pids[-1]}" || true
mkdir logs && cp second/*_events.log logs/
tar -cz --owner=0 --group=0 --numeric-owner -f "$out" data net logs
ls -l "$out"
