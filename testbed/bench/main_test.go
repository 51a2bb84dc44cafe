package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
)

// bareEnv makes the test binary play the bare server; see bare_test.go.
const bareEnv = "PVC_BENCH_BARE"

func TestMain(m *testing.M) {
	if file := os.Getenv(bareEnv); file != "" {
		bareMain(file)
		return
	}
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built) // a folder for temporary files
	}
	os.Exit(code)
}

// built is where the daemons are once daemons was called.
var built string

// daemons builds our programs, once, and returns the folder with them.
var daemons = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pvc-bench-")
	if err != nil {
		return "", err
	}
	built = dir
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return dir, testbed.BuildDaemons(ctx, dir)
})

func binaries(b *testing.B) string {
	b.Helper()
	dir, err := daemons()
	if err != nil {
		b.Fatal(err)
	}
	return dir
}

// long reports whether the long forms are wanted.
func long() bool { return os.Getenv("PVC_TEST_LONG") != "" }

// machine describes where the figures come from, for the log of a benchmark.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(b), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			model = strings.Trim(line, "\t :")
		}
	}
	load, _ := os.ReadFile("/proc/loadavg") // empty if unknown
	first, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%s, %d processors, %s, load %s, %s", model, runtime.NumCPU(), runtime.Version(), first, time.Now().Format("2006-01-02 15:04"))
}

// rss is the resident memory of a process in MiB, from /proc/<pid>/status.
func rss(b *testing.B, pid int, field string) float64 {
	b.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), field+":")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		b.Fatalf("process %d: no %s", pid, field)
	}
	kib, err := strconv.Atoi(fields[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}
