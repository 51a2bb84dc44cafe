# The demonstration: a cluster of three hosts on this machine. Included by the Makefile.

.PHONY: demo demo-down testbed

bin/pvc-testbed: FORCE
	go build -o $@ ./testbed/cmd/pvc-testbed

FORCE:

demo: ## bring up a cluster of three hosts on this machine and show the main job
	@testbed/preflight.sh --demo
	@echo 'compiling (the first time takes about a minute)'
	@$(MAKE) --no-print-directory build bin/pvc-testbed
	@bin/pvc-testbed demo

demo-down: ## stop the cluster of "make demo"
	@if [ -x bin/pvc-testbed ]; then bin/pvc-testbed down; else echo 'no cluster: bin/pvc-testbed has not been built'; fi

testbed: bin/pvc-testbed ## build bin/pvc-testbed, which controls a cluster by hand
