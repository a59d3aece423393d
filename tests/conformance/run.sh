#!/usr/bin/env bash
# Asks the public cases of the Gateway API conformance suite, if they lie beside the project; arguments (--only REGEX) go to
# both runs: first ours, which asks every case as the suite does, then the replayer that comes with the data, as it is.
# Fails when a case fails.
set -euo pipefail
cd "$(dirname "$0")/../.."

shared=$(cd .. && pwd)/shared/conformance
if [[ ! -f "$shared/replay.py" ]]; then
    echo "conformance: ../shared/conformance is not there, nothing is asked"
    exit 0
fi

# The same virtual environment as for the promises, with what is spoken here: gRPC, HTTP/2 and WebSocket.
tools=target/tools
wanted="pyyaml==6.0.4 grpcio==1.85.1 h2==4.4.1 websockets==17.4"
if [[ "$(cat "$tools/conformance" 2>/dev/null)" != "$wanted" ]]; then
    [[ -x "$tools/python/bin/python" ]] || python3 -m venv "$tools/python"
    # shellcheck disable=SC2086 # a list of words
    "$tools/python/bin/python" -m pip install --quiet --disable-pip-version-check $wanted
    echo "$wanted" > "$tools/conformance"
fi
# Addresses are the same in every run, so two at once on one machine would answer for each other.
exec 9>"${TMPDIR:-/tmp}/tidegate-conformance.lock"
flock --nonblock 9 || { echo "conformance: waits for another run to end"; flock 9; }

# The adapter is started by its first line.
export PATH="$PWD/$tools/python/bin:$PATH"

failed=0
python tests/conformance/replay_as_is.py --json target/conformance-replayed.json "$@" 2>target/conformance-replayed.log || failed=1
python tests/conformance/suite.py --json target/conformance.json "$@" 2>target/conformance.log || failed=1
exit "$failed"
