#!/usr/bin/env bash
# Measures one node with viewers of each protocol: `make bench`. VIEWERS, SECONDS_EACH, BIT_RATE and NODE (another media-node) may be set.
# Publisher, node and viewers share this machine, so the figures are a lower bound; node and tool are release builds.
set -euo pipefail
cd "$(dirname "$0")/../.."

viewers=${VIEWERS:-500}
each=${SECONDS_EACH:-15}
bit_rate=${BIT_RATE:-1500k}
node=${NODE:-target/release/media-node}
bench=target/release/bench
out=.cache/bench
mkdir -p "$out"
work=$(mktemp -d)
started=()
stop() {
    for id in "${started[@]}"; do kill "$id" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

ulimit -n "$(ulimit -Hn)"
# Three ports that nothing listens on, below the range that the system hands out itself.
base=$((20000 + $$ % 100 * 100))
rtmp=127.0.0.1:$base http=127.0.0.1:$((base + 1)) ops=127.0.0.1:$((base + 2))
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$work/token"
"$node" origin --name bench --rtmp-listen $rtmp --http-listen $http --ops-listen $ops \
    --control-token-file "$work/token" --drain-accept 0s >"$work/node.log" 2>&1 &
node_id=$!
started+=("$node_id")
for _ in $(seq 100); do
    curl -fs "http://$ops/readyz" >/dev/null 2>&1 && break
    kill -0 "$node_id" 2>/dev/null || { cat "$work/node.log" >&2; exit 1; }
    sleep 0.1
done
"$bench" publish "rtmp://$rtmp/live/bench" --bit-rate "$bit_rate" >"$out/publish.json" &
started+=($!)
sleep 2

# User and system time of the node so far, in seconds.
cpu() { awk -v hz="$(getconf CLK_TCK)" '{print ($14 + $15) / hz}' "/proc/$node_id/stat"; }
resident() { awk '/VmRSS/ {print $2}' "/proc/$node_id/status"; }

echo "$viewers viewers of one stream of $bit_rate bit/s, $each s each protocol, $(nproc) cores"
idle=$(resident)
for protocol in rtmp flv ws mp4; do
    target=$http
    [ $protocol = rtmp ] && target=$rtmp
    before=$(cpu)
    "$bench" load "$target/live/bench" --protocol $protocol --viewers "$viewers" --for "$each" --json "$out/$protocol.json" &
    load_id=$!
    started+=("$load_id")
    sleep "$((each - 3))"
    peak=$(resident)
    wait "$load_id"
    awk -v b="$before" -v a="$(cpu)" -v i="$idle" -v p="$peak" -v n="$viewers" \
        'BEGIN {printf "  node          %.2f s of CPU, %.1f MiB resident, %.1f KiB a viewer\n\n", a - b, p / 1024, (p - i) / n}'
done
echo "reports: $out/*.json"
