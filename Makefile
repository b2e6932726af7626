# Every recipe of the project; CI calls nothing else. `make` lists them.

ARGS ?=
CARGO ?= cargo
# Of images: where they go, their tag, and whether they are pushed.
REGISTRY ?=
PUSH ?=
VERSION ?= $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
, := ,
# Every build selects the whole workspace: another selection has other features and builds all dependencies again.
# Tests of browser and tools in which time does not matter: two of them run at once, all others one at a time.
UNTIMED := console:: decisions:: dvr:: embed:: page:: pause_and_play protocols::a_ faults::a_publisher_that faults::a_server \
  faults::a_stream faults::an_origin fmp4:: frames_that a_padded a_cut_viewer moves:: other_bytes the_end_of_a_stream load_tool

.DEFAULT_GOAL := help
.PHONY: help demo setup test check images bench long

help: ## list the recipes
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

demo: ## build and run an origin and edges on this machine, with a sample stream; ARGS='--exit-after 60' is passed on
	$(CARGO) build --locked --workspace --bins
	target/debug/headwater local -f examples/local.yaml --sample $(ARGS)

setup: ## install what the tests need (ffmpeg, Chromium, GStreamer, nginx, Prometheus) and make their media
	tests/setup.sh

check: ## formatting, lints, licences, and that generated and described things agree with the code
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check; \
	else echo "WARNING: cargo-deny is not installed: licences and bans were NOT checked (cargo install cargo-deny)" >&2; fi
	$(CARGO) test --locked --quiet --workspace --test repo

test: setup ## install what is missing, then run every test
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace --lib --bins -- --test-threads=4
	$(CARGO) test --locked --workspace --test repo --test node -- --test-threads=4 --skip cost:: --skip a_player_whose
	$(CARGO) test --locked --workspace --test size -- --test-threads=1 --nocapture
	$(CARGO) test --locked --workspace --test node -- --test-threads=1 --nocapture cost:: a_player_whose
	$(CARGO) test --locked --workspace --test browser --test tools -- --test-threads=2 $(UNTIMED)
	$(CARGO) test --locked --workspace --test browser --test tools -- --test-threads=1 --nocapture $(addprefix --skip ,$(UNTIMED))
	$(CARGO) test --locked --workspace --test cluster -- --test-threads=3 --nocapture
	$(CARGO) test --locked --workspace --test helm --test local --test prometheus -- --test-threads=1 --nocapture

images: ## build both images for this machine; with PUSH=1 REGISTRY=… for amd64 and arm64, and push them
	$(foreach image,operator media-node,docker buildx build --file $(image)/Dockerfile \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
	  $(if $(PUSH),--platform linux/amd64$(,)linux/arm64 --push,--load) \
	  --tag $(if $(REGISTRY),$(REGISTRY)/)headwater/$(image):$(VERSION) . &&) true

bench: ## measure one node with viewers of each protocol; with ARGS='load …' or ARGS='publish …' run that tool alone
	$(CARGO) build --locked --release -p e2e --bin bench $(if $(ARGS),,-p media-node --bin media-node)
	$(if $(ARGS),target/release/bench $(ARGS),tests/bench/run.sh)

long: setup ## the tests that take long
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace -- --ignored --test-threads=1 --nocapture
