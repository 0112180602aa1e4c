# The two commands of the README are `make demo` and `make test`; CONTRIBUTING.md tells of the others.
#   PYTHON=python3.12   another interpreter, 3.11 or later
#   BENCH_SHORT=1       few samples in `make bench`

PYTHON ?= python3
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
# Wheels are kept beside pip's own cache, since pip cannot resolve names from that one without a network.
WHEELS = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/voxwire/wheels
export CARGO_TERM_COLOR ?= auto
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -not -path 'rust/fuzz/*' -o -name Cargo.toml -not -path 'rust/fuzz/*')
NATIVE_SOURCES = Cargo.toml Cargo.lock $(shell find rust/sink rust/plugin rust/audio rust/kernels plugins/voxwire-$(1)/native -name '*.rs' -o -name Cargo.toml)
MYPY := $(BIN)/mypy
PYTHON_SOURCES := python plugins tests benches

.PHONY: help demo test test-rust test-python lint bench instructions fuzz docs clean tools

help:
	@echo 'make demo    set everything up and speak a sentence into ./hello.wav'
	@echo 'make test    set everything up and run all tests'
	@echo 'make lint    formatting, lints, types, the stub, the laws'
	@echo 'make bench   measure; writes benches/results/latest.json and a page beside it'
	@echo 'make instructions   count instructions under callgrind; fails where the core got worse'
	@echo 'make fuzz    run every fuzz target for FUZZ_SECONDS each (default 60)'
	@echo 'make docs    run the examples of the documentation'

demo: $(STAMPS)/core $(STAMPS)/file $(STAMPS)/espeak
	@$(BIN)/python docs/examples/demo.py

test: test-rust test-python

test-rust: tools
	cargo test --workspace --locked --quiet
	cargo test --manifest-path rust/fuzz/Cargo.toml --locked --quiet

# Most tests wait for something rather than compute, so three at a time suit two cores.
test-python: $(STAMPS)/core $(STAMPS)/file $(STAMPS)/alsa $(STAMPS)/rtp $(STAMPS)/espeak $(STAMPS)/test $(STAMPS)/sdk2
	$(BIN)/python -m pytest -q -n 3 --dist loadfile

lint: $(STAMPS)/core $(STAMPS)/file $(STAMPS)/alsa $(STAMPS)/rtp $(STAMPS)/espeak $(STAMPS)/test
	cargo fmt --all --check
	cargo fmt --manifest-path rust/fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets --features voxwire-benches/instructions,voxwire-rtp/python --locked --quiet -- -D warnings
	cargo clippy --manifest-path rust/fuzz/Cargo.toml --all-targets --locked --quiet -- -D warnings
	$(BIN)/ruff format --check --quiet $(PYTHON_SOURCES)
	$(BIN)/ruff check --quiet $(PYTHON_SOURCES)
	$(MYPY)
	$(MYPY) -p voxwire_file -p voxwire_alsa -p voxwire_rtp -p voxwire_espeak
	$(BIN)/python -m mypy.stubtest voxwire._core --mypy-config-file pyproject.toml --allowlist tests/stubtest-allowlist.txt
	$(BIN)/python -m mypy.stubtest voxwire_alsa._native --mypy-config-file pyproject.toml
	$(BIN)/python -m mypy.stubtest voxwire_rtp._native --mypy-config-file pyproject.toml

bench: $(STAMPS)/core $(STAMPS)/rtp $(STAMPS)/test $(STAMPS)/bench
	$(BIN)/python benches/run.py $(if $(BENCH_SHORT),--short)

instructions: $(STAMPS)/core $(STAMPS)/test
	@$(call needed,valgrind,apt-get install valgrind)
	$(BIN)/python benches/instructions.py

FUZZ_SECONDS ?= 60
fuzz: tools
	@command -v cargo-fuzz >/dev/null || { echo 'cargo-fuzz is missing: cargo install cargo-fuzz --locked' >&2; exit 1; }
	cd rust/fuzz && for target in $$(cargo fuzz list --fuzz-dir .); do mkdir -p corpus/$$target && \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir . --features libfuzzer $$target corpus/$$target seeds/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -max_len=1024 -rss_limit_mb=512 -timeout=5 || exit 1; done

docs: $(STAMPS)/core $(STAMPS)/file $(STAMPS)/rtp $(STAMPS)/espeak $(STAMPS)/test
	$(BIN)/python -m pytest -q tests/test_docs.py

clean:
	rm -rf $(VENV) target rust/fuzz/target python/voxwire/_core*.so plugins/*/src/*/_native*.so hello.wav

# --- setting up ---------------------------------------------------------------------------------------------------

# A comma would end an argument of `call`.
RUST := the Rust toolchain (https://rustup.rs), stable, 1.90 or later
PYTHON_VENV := apt-get install python3 python3-venv (3.11 or later), or pass PYTHON=...
define needed
command -v $(1) >/dev/null 2>&1 || { echo 'missing: $(1). Get it with: $(2)' >&2; exit 1; }
endef

tools:
	@$(call needed,cc,apt-get install build-essential (or your system'"'"'s C compiler))
	@$(call needed,cargo,$(RUST))
	@cargo --version | awk '{ split($$2, part, "."); exit part[1] == 1 && part[2] < 90 }' || \
	  { echo "$$(cargo --version) is too old. Get $(RUST): rustup update stable" >&2; exit 1; }
	@$(call needed,$(PYTHON),$(PYTHON_VENV))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) -V), needed is 3.11 or later: install it and pass PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo 'missing: the venv module of $(PYTHON). Get it with: apt-get install python3-venv' >&2; exit 1; }

# First from what is kept, without a network; what is missing there is fetched once.
# $(1) is the list, $(2) the programs of another environment than the usual one.
define install
@echo 'installing $(1)'
@$(or $(2),$(BIN))/python -m pip install --quiet --no-index --find-links $(WHEELS) -r $(1) 2>/dev/null || { \
  $(or $(2),$(BIN))/python -m pip download --quiet --dest $(WHEELS) -r $(1) && \
  $(or $(2),$(BIN))/python -m pip install --quiet --no-index --find-links $(WHEELS) -r $(1); }
endef

$(STAMPS)/run: requirements/run.txt requirements/build.txt | tools
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) $(WHEELS)
	$(call install,requirements/build.txt)
	$(call install,requirements/run.txt)
	@touch $@

$(STAMPS)/test: requirements/test.txt | $(STAMPS)/run
	$(call install,requirements/test.txt)
	@touch $@

$(STAMPS)/bench: requirements/bench.txt | $(STAMPS)/test
	$(call install,requirements/bench.txt)
	@touch $@

# The second SDK of the service has another version of the same package: an environment of its own.
$(STAMPS)/sdk2: requirements/sdk2.txt | $(STAMPS)/run
	@test -x $(VENV)/sdk2/bin/python || $(PYTHON) -m venv $(VENV)/sdk2
	$(call install,requirements/sdk2.txt,$(VENV)/sdk2/bin)
	@touch $@

$(STAMPS)/core: $(RUST_SOURCES) pyproject.toml | $(STAMPS)/run
	@echo 'building the core'
	@PIP_QUIET=1 $(BIN)/maturin develop --release --locked --quiet
	@touch $@

$(STAMPS)/file $(STAMPS)/espeak: $(STAMPS)/%: plugins/voxwire-%/pyproject.toml | $(STAMPS)/core
	@$(BIN)/python -m pip install --quiet --no-deps --no-index --no-build-isolation -e plugins/voxwire-$*
	@touch $@

$(STAMPS)/alsa: $(call NATIVE_SOURCES,alsa)
$(STAMPS)/rtp: $(call NATIVE_SOURCES,rtp)
$(STAMPS)/alsa $(STAMPS)/rtp: $(STAMPS)/%: plugins/voxwire-%/pyproject.toml | $(STAMPS)/core
	@echo 'building voxwire-$*'
	@cd plugins/voxwire-$* && PIP_QUIET=1 ../../$(BIN)/maturin develop --release --locked --quiet
	@touch $@
