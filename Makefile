# The handful of words. Each does all its own set-up on a fresh machine; ARGS are passed on.
.PHONY: demo test check deny simulation loom differential conformance soak bench microbench instructions fuzz console embedded docs
SHELL := /bin/bash
CARGO ?= cargo
# What costs more must say why. Counted in the build that the tests use anyway: 13,315 to 13,487, and up to 600 more on a machine that
# is busy (a request that valgrind makes slow is watched more often). `make instructions` counts the proxy as it is shipped, which takes
# eight minutes to build: 11,769. It was 10,938 before a request was counted among those who call whom (285), looked at for a
# trace, and known to an access log with what it needs. The goal is 10,000.
INSTRUCTIONS_MAX := 14300

COUNT = $(CARGO) run --locked --quiet -p tidegate-benches --bin side-by-side --
SOAK = $(CARGO) run --locked --quiet -p tidegate-tests --example soak --

# A mesh of real processes on this machine, until Ctrl-C. ARGS="--for 20s --report r.json" ends by itself.
demo: embedded
	@echo "building; the first time takes a few minutes"
	@$(CARGO) build --locked --profile demo -p tidegate-control -p tidegate-proxy -p tidegate-bookinfo
	@exec target/demo/tidegate demo $(ARGS)

# Everything: quick checks, then the promises over real processes and, where their data is there, the conformance cases.
test: embedded check
	bash tests/install.sh
	$(CARGO) build --locked --profile demo -p tidegate-control -p tidegate-proxy -p tidegate-bookinfo
	$(CARGO) test --locked -p tidegate-tests --test promises -- --show-output $(ARGS)
	$(if $(ARGS),,bash console/test.sh)
	$(if $(ARGS),,$(SOAK) --short)
	$(if $(ARGS),,$(COUNT) --bin target/demo instructions --max $(INSTRUCTIONS_MAX))
	$(if $(ARGS),,bash tests/conformance/run.sh)

# Random routes and requests through our proxy and through Envoy: ARGS="COMPARISONS SEED", 10,000 and 1 unless said.
differential:
	bash tests/install.sh
	$(CARGO) build --locked --profile demo -p tidegate-proxy
	DIFFERENTIAL_COMPARISONS=$(or $(word 1,$(ARGS)),10000) DIFFERENTIAL_SEED=$(or $(word 2,$(ARGS)),1) \
	$(CARGO) test --locked -p tidegate-tests --test promises -- --show-output differential

# Public cases of Gateway API's conformance suite, where their data and replayer lie beside the project (../shared). About
# three minutes; ARGS="--only REGEX" asks some of the tests.
conformance:
	$(CARGO) build --locked --profile demo -p tidegate-control -p tidegate-proxy
	bash tests/conformance/run.sh $(ARGS)

# Format, lints, licences and sources of dependencies, documentation, unit tests (with 200 seeds of the simulation and the
# bounded models of loom), house rules.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --exclude tidegate-loom --all-targets -- -D warnings
	$(CARGO) clippy --locked -p tidegate-loom --lib --tests -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items --quiet
	$(CARGO) test --locked --workspace --exclude tidegate-tests
	$(CARGO) test --locked -p tidegate-tests --test tidy --test fuzz_seeds
	bash tests/deny.sh

# Licences, duplicates, banned crates and sources of dependencies; known vulnerabilities where a database lies here.
deny:
	bash tests/deny.sh

# Proxies and a control plane on a network where everything goes wrong: ARGS=N seeds, 2,000 unless said. One seed again, with
# its story: SEED=n cargo test -p tidegate-proxy --lib simulation -- --nocapture
simulation:
	SEEDS=$(or $(ARGS),2000) $(CARGO) test --locked -p tidegate-proxy --lib simulation -- --nocapture

# What threads share without a lock, in every order; with one preemption more than `make check` allows, or ARGS=N.
loom:
	LOOM_MAX_PREEMPTIONS=$(or $(ARGS),4) $(CARGO) test --locked -p tidegate-loom -- --nocapture

# Every trouble that a mesh must live through, one after the other, under load: ten minutes, a table, and
# target/soak/report.json. ARGS=--short takes one and a half; that is a part of `make test`.
soak:
	bash tests/install.sh
	$(CARGO) build --locked --profile demo -p tidegate-control -p tidegate-proxy -p tidegate-bookinfo
	$(SOAK) $(ARGS)

# Our proxy beside Envoy, nginx, HAProxy and a relay, all installed here: a table, and target/bench/report.json.
# ARGS=--quick takes under four minutes once built, ARGS="--only h1" some cases.
bench:
	bash benches/install.sh
	$(CARGO) build --locked --release -p tidegate-control -p tidegate-proxy -p tidegate-benches
	target/release/side-by-side $(ARGS)

# Instructions of the proxy for each request, counted by callgrind. ARGS="--profile FILE" keeps the profile.
instructions:
	bash tests/install.sh
	$(CARGO) build --locked --profile demo -p tidegate-control
	$(CARGO) build --locked --release -p tidegate-proxy
	mkdir -p target/counted
	ln -sf ../demo/tidegate ../release/tidegate-proxy target/counted/
	$(COUNT) --bin target/counted instructions $(ARGS)

# The pure parts alone.
microbench:
	$(CARGO) bench --locked -p tidegate-benches $(ARGS)

# Generated bytes for each target in fuzz/targets, ten minutes each: ARGS="--seconds 30 gate path".
fuzz:
	bash fuzz/run.sh $(ARGS)

# The web console, which `tidegate` has in it when it is built after this: only when its sources changed.
console: $(if $(wildcard console/dist/index.html),,unbuilt-console)
	@$(MAKE) -s target/console.stamp

# What demo and test have in front: a machine without Node, or without a way to packages, gets a plain page and is told so.
embedded:
	@if [ ! -f console/package.json ]; then echo "no console/ here: the binary has a plain page in its place"; \
	elif ! command -v npm >/dev/null; then \
		echo "==== npm is missing: going on WITHOUT THE WEB CONSOLE; install Node 20 and run make console ====" >&2; \
	elif ! $(MAKE) -s console; then \
		echo "==== the console was not built: going on WITHOUT A NEW WEB CONSOLE; see above, then make console ====" >&2; \
	fi

CONSOLE_SOURCES = $(shell find console -name node_modules -prune -o -name dist -prune -o -type f -print 2>/dev/null)
.PHONY: unbuilt-console
unbuilt-console:
	@rm -f target/console.stamp

target/console.stamp: $(CONSOLE_SOURCES)
	cd console && npm ci --no-audit --no-fund && npm run check && npm run build
	@mkdir -p target && touch $@
	@# A build that saw no console at all watches nothing of it.
	@touch control/build.rs

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps
