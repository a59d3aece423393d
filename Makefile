# The handful of words. Each does all its own set-up on a fresh machine; ARGS are passed on.
.PHONY: demo test check differential conformance soak bench microbench instructions fuzz console docs
SHELL := /bin/bash
CARGO ?= cargo
# 18,883 and 18,984 were counted when this was set; what costs more must say why. The goal is 12,000.
INSTRUCTIONS_MAX := 19900
COUNT_INSTRUCTIONS = $(CARGO) run --locked --quiet -p tidegate-benches --bin side-by-side -- --bin target/demo instructions

SOAK = $(CARGO) run --locked --quiet -p tidegate-tests --example soak --

# A mesh of real processes on this machine, until Ctrl-C. ARGS="--for 20s --report r.json" ends by itself.
demo:
	@echo "building; the first time takes a few minutes"
	@$(CARGO) build --locked --profile demo -p tidegate-control -p tidegate-proxy -p tidegate-bookinfo
	@exec target/demo/tidegate demo $(ARGS)

# Everything: quick checks, then the promises over real processes and, where their data is there, the conformance cases.
test: check
	bash tests/install.sh
	$(CARGO) build --locked --profile demo -p tidegate-control -p tidegate-proxy -p tidegate-bookinfo
	$(CARGO) test --locked -p tidegate-tests --test promises -- --show-output $(ARGS)
	$(if $(ARGS),,$(SOAK) --short)
	$(if $(ARGS),,$(COUNT_INSTRUCTIONS) --max $(INSTRUCTIONS_MAX))
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

# Format, lints, documentation, unit tests, house rules.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items --quiet
	$(CARGO) test --locked --workspace --exclude tidegate-tests
	$(CARGO) test --locked -p tidegate-tests --test tidy --test fuzz_seeds

# Every trouble that a mesh must live through, one after the other, under load: ten minutes, a table, and
# target/soak/report.json. ARGS=--short takes less than one; that is a part of `make test`.
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
	$(CARGO) build --locked --profile demo -p tidegate-control -p tidegate-proxy
	$(COUNT_INSTRUCTIONS) $(ARGS)

# The pure parts alone.
microbench:
	$(CARGO) bench --locked -p tidegate-benches $(ARGS)

fuzz:
	bash fuzz/run.sh $(ARGS)

# The web console is not built yet: the API on port 15014 answers in JSON.
console:
	@echo "there is no console yet: see GET http://127.0.0.1:15014/api/v1/status"

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps
