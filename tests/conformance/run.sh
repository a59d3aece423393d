#!/usr/bin/env bash
# Replays the public cases of the Gateway API conformance suite, if they lie beside the project; arguments go to the
# replayer (--only REGEX). Fails when a case fails that is not on the list below.
set -euo pipefail
cd "$(dirname "$0")/../.."

replayer=$(cd .. && pwd)/shared/conformance/replay.py
if [[ ! -x "$replayer" ]]; then
    echo "conformance: ../shared/conformance is not there, nothing is replayed"
    exit 0
fi
python=target/tools/python/bin/python
"$python" -c 'import yaml' 2>/dev/null || "$python" -m pip install --quiet --disable-pip-version-check pyyaml
# A replayer that breaks off must not be judged by what an earlier one wrote.
rm -f target/conformance.json
export PATH="$PWD/target/tools/python/bin:$PATH"
"$python" "$replayer" --adapter "$PWD/tests/conformance/adapter" --settle 2 --json target/conformance.json "$@" 2>target/conformance.log |
    grep -E 'fail [1-9]|ERROR|TOTAL' || true
"$python" tests/conformance/verdict.py target/conformance.json
