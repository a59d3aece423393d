#!/usr/bin/env bash
# The console in a real browser: its logic, its pages before an invented mesh that has every trouble, and before the demo, whose files
# are edited on disk meanwhile. Pictures of each page are left in target/console.
set -euo pipefail
cd "$(dirname "$0")/.."

bash console/install.sh
(cd console && npm test --silent && npm run --silent e2e)

# The demo takes a moment to start and has to have traffic to show; it ends by itself, whatever becomes of this.
mkdir -p target/console
# Its files are its own, so that nobody's edits elsewhere are lost.
target/demo/tidegate demo --for 240s --dir "$PWD/target/console/mesh" > target/console/demo.log 2>&1 &
demo=$!
trap 'kill -INT "$demo" 2>/dev/null || true; wait "$demo" 2>/dev/null || true' EXIT
api=http://127.0.0.1:15014
edges() { curl -fsS "$api/api/v1/topology" 2>/dev/null | grep -o '"service":"[a-z]*\.bookinfo' | sort -u | wc -l; }
for _ in $(seq 120); do
    if [[ "$(edges || echo 0)" -ge 4 ]]; then ready=yes; break; fi
    if ! kill -0 "$demo" 2>/dev/null; then tail -20 target/console/demo.log; exit 1; fi
    sleep 0.5
done
if [[ -z "${ready:-}" ]]; then echo "the demo shows no traffic after a minute:"; tail -20 target/console/demo.log; exit 1; fi
(cd console && CONSOLE_URL=$api/console/ npm run --silent e2e)
