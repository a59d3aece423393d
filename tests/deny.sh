#!/usr/bin/env bash
# Licences, banned crates, duplicates and sources of everything that is built, by deny.toml. Known vulnerabilities are asked
# for where a copy of the advisory database lies on this machine: fetching it would make the answer depend on the day.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
root=target/cargo-deny
if [[ "$("$root/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $version" ]]; then
    # Not optimised: it runs for a second and is built for a minute, not three.
    cargo install --locked --quiet --debug --root "$root" --target-dir "$root/build" --version "$version" cargo-deny
    rm -rf "$root/build"
fi
"$root/bin/cargo-deny" deny --locked check licenses bans sources

databases="${CARGO_HOME:-$HOME/.cargo}/advisory-dbs"
if compgen -G "$databases/*" > /dev/null; then
    "$root/bin/cargo-deny" deny --locked check --disable-fetch advisories
else
    echo "advisories NOT checked: there is no copy of the database in $databases"
fi
