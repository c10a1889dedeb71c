# make check runs everything that can be run on one machine; .ci/run does the same from a bare Debian.

CARGO ?= cargo
SECONDS_PER_TARGET ?= 600
BUILT = $(or $(CARGO_TARGET_DIR),target)
TARGETS = aarch64-unknown-linux-gnu x86_64-pc-windows-gnu wasm32-unknown-unknown
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# Where a test under QEMU finds /proc/cpuinfo: QEMU shows the real machine's.
SYSROOT = $(abspath $(BUILT))/nehalem

.PHONY: check build examples lint circles unit toys format clippy doc targets test setup qemu qemu-x86 qemu-arm loom clients clients-all load fuzz package goldens

check: lint test examples

lint: circles unit format clippy doc targets

# No file of the kernels and no folder of the library needs what is above it.
circles:
	python3 -B scripts/test_circles.py
	python3 -B scripts/circles.py

# The systemd unit may do little: an exposure of 2.0 at most, in tenths. Debian: apt-get install systemd
unit:
	@mkdir -p $(BUILT)
	@systemd-analyze security --no-pager --offline=true --threshold=20 deploy/sterna.service > $(BUILT)/unit \
		|| { cat $(BUILT)/unit; exit 1; }
	@tail -n 1 $(BUILT)/unit

# `make format CHECK=` writes the files. By name: cargo fmt does not find files that a macro declares (`endpoints!`).
CHECK ?= --check
format:
	rustfmt $(CHECK) --edition 2024 $$(git ls-files '*.rs')

clippy:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

test:
	$(CARGO) test --workspace

doc:
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps

# A network, a format and an endpoint are one new file and one changed line each: see scripts/toys.py.
toys:
	python3 -B scripts/test_toys.py
	python3 -B scripts/toys.py '$(CARGO)' $(BUILT)

# Programs and examples, with the features of dependencies that `make test` and `make clippy` have: cargo compiles a
# dependency again for every set of features, and packages by themselves (-p) ask for other sets.
build:
	$(CARGO) build --workspace --bins --examples

# The examples of the library, with the model that the binary carries.
MODEL = crates/cli/embedded/sterna.gguf
examples: build
	$(BUILT)/debug/examples/generate $(MODEL) 'Once upon a time'
	$(BUILT)/debug/examples/chat $(MODEL) 'Who are you?'
	$(BUILT)/debug/examples/logits $(MODEL) 'Once upon a time'
	$(BUILT)/debug/examples/search $(MODEL) 'Who lost a crown?'

# The standard libraries of the targets below. Cryptography is partly C: Debian: apt-get install gcc-aarch64-linux-gnu
# libc6-dev-arm64-cross gcc-mingw-w64-x86-64-win32
setup:
	rustup target add $(TARGETS)

# The library builds for wasm; where its random numbers come from there is for the program around it to say.
targets:
	$(CARGO) check --workspace --target aarch64-unknown-linux-gnu
	$(CARGO) check --workspace --target x86_64-pc-windows-gnu
	CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS='--cfg getrandom_backend="unsupported"' \
		$(CARGO) check -p sterna --target wasm32-unknown-unknown

# Debian: apt-get install qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross
qemu: qemu-x86 qemu-arm

# A CPU of 2008, without AVX: kernels, whole models against the reference, and training.
qemu-x86: export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER = qemu-x86_64-static -L $(SYSROOT) -cpu Nehalem
qemu-x86:
	test $(HOST) = x86_64-unknown-linux-gnu
	mkdir -p $(SYSROOT)/proc
	echo 'flags : fpu sse sse2 ssse3 sse4_1 sse4_2 popcnt' > $(SYSROOT)/proc/cpuinfo
	$(CARGO) test --workspace --test conformance --test bf16 --test golden -- --nocapture

qemu-arm: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER = aarch64-linux-gnu-gcc
qemu-arm: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER = qemu-aarch64-static -L /usr/aarch64-linux-gnu
qemu-arm:
	$(CARGO) test --target aarch64-unknown-linux-gnu -p sterna-kernels -p sterna --test conformance --test bf16 --test golden -- \
		--nocapture

# The thread pool under every interleaving (up to three preemptions) of loom's memory model.
loom:
	RUSTFLAGS='--cfg loom' $(CARGO) test --release -p sterna-kernels --test pool_loom --target-dir target/loom

# Debian: apt-get install python3-venv chromium
CLIENTS = $(abspath $(BUILT)/clients)
RUN_CLIENTS = $(CLIENTS)/bin/python -B $(CLIENTS)/run.py
clients: build $(CLIENTS)/installed
	cp -r crates/server/clients/* $(CLIENTS)
	$(RUN_CLIENTS) $(BUILT)/debug/sterna

$(CLIENTS)/installed: crates/server/clients/requirements.txt crates/server/clients/package.json
	python3 -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install -q -r crates/server/clients/requirements.txt
	cp crates/server/clients/package.json $(CLIENTS)
	cd $(CLIENTS) && PATH=$(CLIENTS)/bin:$$PATH npm install --silent --no-audit --no-fund
	touch $@

# Also the clients that take over 90 s to install. `make clients-all RECORD=--record` writes their requests to
# crates/server/clients/recorded, and `make test` sends these again.
SLOW_CLIENTS = slow/lm_eval_client.py slow/promptfoo_client.py
clients-all: clients $(CLIENTS)/slow/installed
	$(RUN_CLIENTS) $(RECORD) $(BUILT)/debug/sterna $(SLOW_CLIENTS)
	cp -r $(CLIENTS)/recorded crates/server/clients

$(CLIENTS)/slow/installed: crates/server/clients/slow/requirements.txt crates/server/clients/slow/package.json
	mkdir -p $(CLIENTS)/slow
	$(CLIENTS)/bin/pip install -q -r crates/server/clients/slow/requirements.txt
	cp crates/server/clients/slow/package.json $(CLIENTS)/slow
	cd $(CLIENTS)/slow && PATH=$(CLIENTS)/bin:$$PATH npm install --silent --no-audit --no-fund
	touch $@

load: build
	python3 -B crates/server/clients/load.py $(BUILT)/debug/sterna

# Needs cargo install cargo-fuzz. The seeds are replayed by make test; this looks for new inputs.
fuzz:
	set -e; for target in $$($(CARGO) fuzz list); do \
		mkdir -p fuzz/corpus/$$target; \
		$(CARGO) fuzz run -s none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(SECONDS_PER_TARGET) -print_final_stats=1; \
	done

# What would be published compiles by itself: each package is unpacked, and checked with the dependencies of `make clippy`.
# `cargo package` alone would compile all dependencies again, once for each package's set of features.
PACKED = $(BUILT)/package/unpacked
package:
	rm -rf $(BUILT)/package
	$(CARGO) package --workspace --exclude sterna-lessons --allow-dirty --no-verify
	mkdir -p $(PACKED)
	for crate in $(BUILT)/package/*.crate; do tar -xzmf $$crate -C $(PACKED); done
	{ printf '[workspace]\nresolver = "3"\nmembers = ["*"]\n\n[patch.crates-io]\n'; \
		for crate in $(PACKED)/*/; do name=$$(basename $$crate); echo "$${name%-*} = { path = \"$$name\" }"; done; \
		sed -n '/^\[profile/,$$p' Cargo.toml; } > $(PACKED)/Cargo.toml
	cp Cargo.lock $(PACKED)
	cd $(PACKED) && CARGO_TARGET_DIR=$(abspath $(BUILT)) $(CARGO) check --workspace

# Needs the Python packages that testdata/golden/README.md names.
goldens:
	python3 scripts/golden.py testdata/golden
