// Command baseline is what the storage benchmarks compare with: go-ceph called
// directly, and Ceph's own tools. It reads steps from standard input, one JSON list a line,
// carries those of a list out at once, and answers with the time that they took. Nothing of
// a daemon uses it; testbed/bench runs it on a host of the testbed.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "baseline:", err)
		os.Exit(1)
	}
}
