# `make demo` shows the engine, `make test` proves it; `make help` lists the rest.

SHELL := /bin/sh
CARGO ?= cargo
# A toolchain that `make deps` has just installed is found without a new login.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
ifeq ($(CARGO_TARGET_DIR),)
# Cargo takes a variable that is set to nothing for a mistake.
unexport CARGO_TARGET_DIR
endif
RELEASE = $(TARGET_DIR)/release

PREFIX ?= /usr/local
DESTDIR ?=
BINDIR = $(DESTDIR)$(PREFIX)/bin
UNITDIR = $(DESTDIR)$(PREFIX)/lib/systemd/system
SHAREDIR = $(DESTDIR)$(PREFIX)/share

# What `isula version` tells. The time of the commit, not of the build: the same sources give the same binaries.
COMMIT = $(shell git rev-parse --short=12 HEAD 2>/dev/null)
COMMIT_DATE = $(shell git log -1 --format=%cI 2>/dev/null)
VERSIONED = $(if $(COMMIT),ISULA_GIT_COMMIT=$(COMMIT) ISULAD_GIT_COMMIT=$(COMMIT)) \
	$(if $(COMMIT_DATE),ISULA_BUILT=$(COMMIT_DATE) ISULAD_BUILT=$(COMMIT_DATE))
# Each integration test runs a daemon and containers of its own: more at once only wait for each other.
export RUST_TEST_THREADS ?= 4
# Given to the last step only, so that no dependency is built twice.
STATIC = -- -C target-feature=+crt-static
SMALL = -C lto=fat -C opt-level=s -C codegen-units=1

.PHONY: help demo test unit integration compat check chaos bench release install completions deps clean

help:
	@echo 'make demo         build the engine and show it surviving kill -9 (root)'
	@echo 'make test         all tests, those on real runc and crun included (root)'
	@echo 'make compat       the tests on newer runc and crun, fetched into $(TARGET_DIR)/compat (root, Debian)'
	@echo 'make check        formatting, lints, the dependency arrows'
	@echo 'make chaos        random work under random kills for MINUTES=15, with SEED=N the same again (root)'
	@echo 'make bench        the measurements of docs/architecture.md (root)'
	@echo 'make release      isulad, isulad-shim and isula in $(RELEASE)'
	@echo 'make install      the above, the systemd unit and completions below $$(DESTDIR)$$(PREFIX)'
	@echo 'make completions  shell completions in $(RELEASE)/completions'
	@echo 'make deps         what is missing of the Debian packages and of Rust'
	@echo 'make clean        removes what was built'

demo: deps release
	@scripts/demo --bin-dir '$(RELEASE)'

test: deps
	$(CARGO) build --locked --workspace
	$(CARGO) test --locked --workspace --exclude integration
	$(CARGO) test --locked -p integration

unit: deps
	$(CARGO) test --locked --workspace --exclude integration

integration: deps
	$(CARGO) build --locked --workspace
	$(CARGO) test --locked -p integration

# Not part of CI: it fetches packages of another suite. TESTS picks some: make compat TESTS='-- exec'
compat: deps
	$(CARGO) build --locked --workspace
	scripts/compat --dir '$(TARGET_DIR)/compat' -- $(CARGO) test --locked -p integration $(TESTS)

check: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --locked -p integration --test engine -- layers:: tidy::

# CHAOS has further flags: `make chaos CHAOS='--runc /opt/runc --crun /opt/crun'`.
chaos: deps
	$(CARGO) build --locked --workspace
	$(CARGO) run --locked -p integration --bin chaos -- --minutes '$(or $(MINUTES),15)' $(if $(SEED),--seed '$(SEED)') $(CHAOS)

bench: deps release
	$(CARGO) run --locked --release -p integration --bin bench -- --bin-dir '$(RELEASE)'
	$(CARGO) run --locked --release -p store --example append

# The daemon looks up groups and users, for which it needs the system's C library; the other two are static: a shim is
# smaller that way and needs nothing of the host, and `isula` starts faster. It is started for one call each time: its size
# is pages to be read in, which is most of what it takes; optimizing it alone leaves the other crates shared.
release:
	$(VERSIONED) $(CARGO) rustc --locked --release -p engine --bin isulad
	$(VERSIONED) $(CARGO) rustc --locked --release -p cli --bin isula $(STATIC) $(SMALL)
	$(CARGO) rustc --locked --profile shim -p isulad-shim --bin isulad-shim $(STATIC)
	@install -m 0755 '$(TARGET_DIR)/shim/isulad-shim' '$(RELEASE)/isulad-shim'
	@ls -l '$(RELEASE)/isulad' '$(RELEASE)/isulad-shim' '$(RELEASE)/isula'

completions: release
	@mkdir -p '$(RELEASE)/completions'
	@for shell in bash zsh fish; do \
		'$(RELEASE)/isula' completion $$shell > '$(RELEASE)/completions/'isula.$$shell || exit 1; done

install: completions
	install -d '$(BINDIR)' '$(UNITDIR)' '$(SHAREDIR)/bash-completion/completions' \
		'$(SHAREDIR)/zsh/site-functions' '$(SHAREDIR)/fish/vendor_completions.d'
	install -m 0755 '$(RELEASE)/isulad' '$(RELEASE)/isulad-shim' '$(RELEASE)/isula' '$(BINDIR)'
	sed 's|@BINDIR@|$(PREFIX)/bin|' dist/isulad.service > '$(UNITDIR)/isulad.service'
	chmod 0644 '$(UNITDIR)/isulad.service'
	install -m 0644 '$(RELEASE)/completions/isula.bash' '$(SHAREDIR)/bash-completion/completions/isula'
	install -m 0644 '$(RELEASE)/completions/isula.zsh' '$(SHAREDIR)/zsh/site-functions/_isula'
	install -m 0644 '$(RELEASE)/completions/isula.fish' '$(SHAREDIR)/fish/vendor_completions.d/isula.fish'

deps:
	@scripts/install-dependencies

clean:
	$(CARGO) clean
