# The front door. `make help` lists what it opens; the work is in scripts/.
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
SYSTEMD_UNITS ?= /lib/systemd/system
BUILT := $(or $(CARGO_TARGET_DIR),target)/release/berthd

.PHONY: help run stop build test lint bench conformance install uninstall

help: ## What there is
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

run: ## A private berthd on this machine, and a first container in it (root)
	@scripts/run.sh

stop: ## End the private berthd of `make run` and remove all that it kept (root)
	@scripts/stop.sh

build: ## berthd, release
	@scripts/build.sh

test: ## All tests, with a real containerd, runc and docker CLI (root)
	@scripts/test.sh

lint: ## Formatting, clippy, shell scripts, licences
	@scripts/lint.sh

bench: ## Times and memory beside Debian's dockerd and podman (root)
	@scripts/bench.sh

conformance: ## The public docker CLI checks (root; DAEMON=dockerd checks the checks)
	@scripts/conformance.sh

install: build ## berthd, its systemd unit and socket, under $(DESTDIR)$(PREFIX)
	install -D -m 755 $(BUILT) $(DESTDIR)$(PREFIX)/bin/berthd
	install -d -m 755 $(DESTDIR)$(SYSTEMD_UNITS)
	sed 's|@BINDIR@|$(PREFIX)/bin|' packaging/systemd/berthd.service >$(DESTDIR)$(SYSTEMD_UNITS)/berthd.service
	install -m 644 packaging/systemd/berthd.socket $(DESTDIR)$(SYSTEMD_UNITS)/berthd.socket
	chmod 644 $(DESTDIR)$(SYSTEMD_UNITS)/berthd.service
	@echo 'Installed. To start it: groupadd -f -r docker && systemctl daemon-reload && systemctl enable --now berthd.socket berthd.service'

uninstall: ## Remove what `install` installed
	rm -f $(DESTDIR)$(PREFIX)/bin/berthd $(DESTDIR)$(SYSTEMD_UNITS)/berthd.service $(DESTDIR)$(SYSTEMD_UNITS)/berthd.socket
