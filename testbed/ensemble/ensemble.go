package ensemble

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/internal/proc"
)

// startDeadline bounds the wait for a whole ensemble. Three servers serve after
// 1.8 s on an idle machine of two cores; test packages run beside each other.
const startDeadline = 60 * time.Second

// stopLimit bounds the wait for all threads of a frozen server to stand still.
const stopLimit = 10 * time.Second

// Options of Start.
type Options struct {
	Servers int           // 1 or 3; 0 means 1
	FSync   bool          // see Config
	Tick    time.Duration // 0 means DefaultTick
	HeapMiB int           // of each server; 0 means DefaultHeapMiB
}

// Ensemble is a set of running ZooKeeper servers, numbered from 0. Its methods
// belong to the test's own goroutine: they end the test when something fails.
type Ensemble struct {
	t       testing.TB
	servers []*server
}

type server struct {
	config Config
	cmd    *exec.Cmd // nil while not running
	exited chan struct{}
	paused bool
}

// Start runs an ensemble until the end of the test and returns when all its
// servers serve. Its data is in t.TempDir(). The test is skipped on a machine
// without ZooKeeper.
func Start(t testing.TB, o Options) *Ensemble {
	t.Helper()
	if missing := Missing(); missing != "" {
		t.Skip("no ZooKeeper: " + missing)
	}
	if o.Servers == 0 {
		o.Servers = 1
	}
	if o.Tick == 0 {
		o.Tick = DefaultTick
	}
	addrs, err := loopbackAddrs(o.Servers)
	if err != nil {
		t.Fatal(err)
	}
	e := &Ensemble{t: t}
	dir := t.TempDir()
	t.Cleanup(e.shutDown) // after TempDir, so that it runs before the removal
	for i := range o.Servers {
		c := Config{ID: i + 1, Addrs: addrs, Dir: filepath.Join(dir, fmt.Sprintf("zk%d", i+1)), Tick: o.Tick, FSync: o.FSync, HeapMiB: o.HeapMiB}
		e.servers = append(e.servers, &server{config: c})
		e.Start(i)
	}
	e.WaitServing()
	return e
}

// Addrs are the client addresses (host:port) of all servers, running or not.
func (e *Ensemble) Addrs() []string {
	var addrs []string
	for _, s := range e.servers {
		addrs = append(addrs, s.config.ClientAddr())
	}
	return addrs
}

// Start starts server i again with the data it had and does not wait until it
// serves (one server out of three never does): see WaitServing.
func (e *Ensemble) Start(i int) {
	e.t.Helper()
	s := e.servers[i]
	if s.cmd != nil {
		e.t.Fatalf("ZooKeeper server %d runs already", i)
	}
	if err := s.start(); err != nil {
		e.t.Fatal(err)
	}
}

// Kill ends server i with SIGKILL and returns when the process is gone. A
// server that does not run is left alone.
func (e *Ensemble) Kill(i int) {
	e.t.Helper()
	if err := e.servers[i].kill(); err != nil {
		e.t.Fatal(err)
	}
}

// Stop freezes server i with SIGSTOP: its connections stay open and silent.
func (e *Ensemble) Stop(i int) { e.signal(i, syscall.SIGSTOP, true) }

// Cont lets a frozen server go on.
func (e *Ensemble) Cont(i int) { e.signal(i, syscall.SIGCONT, false) }

func (e *Ensemble) signal(i int, sig syscall.Signal, paused bool) {
	e.t.Helper()
	s := e.servers[i]
	if s.cmd == nil {
		e.t.Fatalf("signal %v: ZooKeeper server %d does not run", sig, i)
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		e.t.Fatalf("signal %v to ZooKeeper server %d: %v", sig, i, err)
	}
	if paused && !proc.WaitStopped(s.cmd.Process.Pid, stopLimit) {
		e.t.Fatalf("ZooKeeper server %d runs on after a SIGSTOP", i)
	}
	s.paused = paused
}

// Leader is the number of the server that leads (or stands alone), -1 if none
// says so now.
func (e *Ensemble) Leader() int {
	for i, s := range e.servers {
		if s.cmd == nil || s.paused {
			continue
		}
		if m := ModeOf(context.Background(), s.config.ClientAddr()); m == Leader || m == Standalone {
			return i
		}
	}
	return -1
}

// WaitServing waits until every server that runs and is not frozen serves
// requests. The test ends with the servers' last words if they do not.
func (e *Ensemble) WaitServing() {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	for i, s := range e.servers {
		if s.cmd == nil || s.paused {
			continue
		}
		if err := s.waitServing(ctx); err != nil {
			e.t.Fatalf("ZooKeeper server %d: %v\n%s", i, err, s.lastWords())
		}
	}
}

func (e *Ensemble) shutDown() {
	var wg sync.WaitGroup
	for _, s := range e.servers {
		wg.Go(func() {
			if err := s.kill(); err != nil {
				e.t.Error(err)
			}
		})
	}
	wg.Wait()
}

func (s *server) start() error {
	if err := s.config.Write(); err != nil {
		return err
	}
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start ZooKeeper server %d: %w", s.config.ID, err)
	}
	defer log.Close()
	argv := s.config.Command()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.config.Dir, log, log
	if err := proc.StartTied(cmd); err != nil {
		return fmt.Errorf("start ZooKeeper server %d: %w", s.config.ID, err)
	}
	exited := make(chan struct{})
	go func() { // owned by the server: kill waits for it
		_ = cmd.Wait() // how a killed server ended is of no interest
		close(exited)
	}()
	s.cmd, s.exited, s.paused = cmd, exited, false
	return nil
}

func (s *server) kill() error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Kill(); err != nil && err != os.ErrProcessDone {
		return fmt.Errorf("kill ZooKeeper server %d: %w", s.config.ID, err)
	}
	<-s.exited
	s.cmd = nil
	return nil
}

// waitServing asks until the server has a mode. There is nothing to wait on but
// asking again: a server announces nowhere that it has found its quorum.
func (s *server) waitServing(ctx context.Context) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if ModeOf(ctx, s.config.ClientAddr()) != None {
			return nil
		}
		select {
		case <-ticker.C:
		case <-s.exited:
			return fmt.Errorf("ended while starting")
		case <-ctx.Done():
			return fmt.Errorf("does not serve: %w", ctx.Err())
		}
	}
}

func (s *server) logPath() string { return filepath.Join(s.config.Dir, "log") }

func (s *server) lastWords() string {
	b, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// loopbackAddrs finds n addresses 127.x.y.1…n that nobody listens on. Every
// ensemble has addresses of its own rather than free ports of 127.0.0.1: a free
// port may be taken by somebody's outgoing connection before java binds it.
func loopbackAddrs(n int) ([]string, error) {
	for range 100 {
		base := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), 1+rand.IntN(254))
		var addrs []string
		for i := range n {
			addrs = append(addrs, fmt.Sprintf("%s%d", base, i+1))
		}
		if allFree(addrs) {
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("find free loopback addresses: 100 tries, all taken")
}

func allFree(addrs []string) bool {
	for _, addr := range addrs {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", addr, ClientPort))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
