package run

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// runnerEnv makes a copy of the test binary run a program and wait for it.
const runnerEnv = "PVC_TEST_RUNNER"

func TestMain(m *testing.M) {
	if fifo := os.Getenv(runnerEnv); fifo != "" {
		_, err := System{}.Run(context.Background(), Command{Argv: sh("echo $$ > " + fifo + "; exec sleep 600"), Timeout: time.Minute})
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestProgramDiesWithTheDaemon(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "pid")
	if _, err := (System{}).Run(ctx(t), Command{Argv: []string{"mkfifo", fifo}}); err != nil {
		t.Fatal(err)
	}
	daemon := exec.CommandContext(ctx(t), os.Args[0])
	daemon.Env = append(os.Environ(), runnerEnv+"="+fifo)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("the program does not run")
	}
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait()
	eventually(t, "the program is gone", func() bool { return !alive(pid) })
}
