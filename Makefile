# make demo       a cluster of three hosts on this machine, and the main job before your eyes
# make test       all but clusters of Ceph, in about 15 minutes on two cores; those: make test-storage
# See CONTRIBUTING.md for the rest.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
LDFLAGS  = -X github.com/parallelvirtualcluster/pvc/common/version.Version=$(VERSION)
RACE    ?= -race

# The module for Ceph has to be told of which release the libraries are. Every go
# command takes GOFLAGS from the environment: build, vet and test, also those that the
# tests run, and staticcheck.
CEPH_16 = pacific
CEPH_17 = quincy
CEPH_18 = reef
CEPH_19 = squid
CEPH_RELEASE = $(CEPH_$(shell dpkg-query -W -f '$${Version}' librados-dev 2>/dev/null | cut -d. -f1))
ifeq ($(findstring -tags,$(GOFLAGS)),)
export GOFLAGS := $(strip $(GOFLAGS) $(CEPH_RELEASE:%=-tags=%))
endif

# Tests wait most of the time: three packages run at a time on two processors, and four
# tests of a package that lets them. The clusters of nets and e2e are the largest and measure
# times: the first runs beside small packages, the second beside the faults. Clusters of
# Ceph have a target of their own: the rest takes 15 minutes without them.
TOGETHER = -p 3 -parallel 4
ORDER   = ./api-daemon/... ./common/... ./testbed/nets ./node-daemon/... ./testbed/e2e ./testbed/faults ./...
STORAGE = ./node-daemon/internal/ceph/rados ./testbed/ceph ./testbed/storage ./testbed/osds ./testbed/storagefaults
TESTS   = $(filter-out $(STORAGE:./%=$(MODULE)/%),$(shell $(GO) list $(ORDER)))
MODULE  = github.com/parallelvirtualcluster/pvc

.PHONY: all build test test-storage test-long bench run-test run-test-storage run-test-long run-bench lint check-tools clean

all: build

build: check-tools
	$(GO) build -ldflags "$(LDFLAGS)" -o bin/pvcd ./node-daemon
	$(GO) build -ldflags "$(LDFLAGS)" -o bin/pvc-api ./api-daemon

# The tests run real services, and daemons that they build: results must not come from
# the cache. What is missing of the services is installed first, and only then does a
# new make look which release of Ceph is there.
test test-storage test-long bench:
	testbed/preflight.sh
	$(MAKE) build
	$(MAKE) run-$@

run-test:
	$(GO) test $(RACE) -count 1 -timeout 14m $(TOGETHER) $(TESTS)

run-test-storage:
	$(GO) test $(RACE) -count 1 -timeout 14m -p 2 $(STORAGE)

run-test-long:
	PVC_TEST_LONG=1 $(GO) test $(RACE) -count 1 -timeout 120m -p 1 ./...

run-bench:
	$(GO) test -run '^$$' -bench . -benchmem -timeout 60m ./testbed/bench/... ./node-daemon/internal/netctl

lint: check-tools
	test -z "$$(gofmt -l . | tee /dev/stderr)"
	$(GO) vet ./...
	cd .tools && $(GO) build -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./...
	shellcheck $$(git ls-files '*.sh') .ci/run

check-tools:
	@testbed/preflight.sh --check

clean:
	rm -rf bin

include testbed/testbed.mk
