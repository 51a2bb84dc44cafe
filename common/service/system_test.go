package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manager is the service manager's end of the socket.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	return conn
}

func heard(t *testing.T, conn *net.UnixConn, want string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil || string(b[:n]) != want {
		t.Errorf("heard %q, %v; want %q", b[:n], err, want)
	}
}

func TestServiceManagerHearsOfTheState(t *testing.T) {
	conn := manager(t)
	for _, state := range []string{Ready, Stopping} {
		if err := Notify(state); err != nil {
			t.Error(err)
		}
		heard(t, conn, state)
	}
}

func TestNotifyWithoutAManagerDoesNothingAndWithAMissingOneFails(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify(Ready); err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if err := Notify(Ready); err == nil {
		t.Error("nobody listens and nobody said so")
	}
}

func TestWatchdogIsHalfOfWhatTheManagerWaits(t *testing.T) {
	for _, tt := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"3000000", "", 1500 * time.Millisecond},
		{"3000000", fmt.Sprint(os.Getpid()), 1500 * time.Millisecond},
		{"3000000", "1", 0},
		{"", "", 0}, {"x", "", 0}, {"-1", "", 0}, {"99999999999999999", "", 0},
	} {
		t.Setenv("WATCHDOG_USEC", tt.usec)
		t.Setenv("WATCHDOG_PID", tt.pid)
		if got := WatchdogInterval(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestWatchdogSpeaksOnlyWhileTheDaemonIsAlive(t *testing.T) {
	conn := manager(t)
	t.Setenv("WATCHDOG_USEC", "2000")
	t.Setenv("WATCHDOG_PID", "")
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan bool)
	done := make(chan error, 1)
	go func() { done <- WatchdogService(func() bool { return <-asked }).Run(ctx) }()
	asked <- true
	heard(t, conn, Watchdog)
	asked <- false
	asked <- false // the answer before this was dealt with
	if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 100)); err == nil {
		t.Errorf("%d bytes for a daemon that is not alive", n)
	}
	asked <- true
	heard(t, conn, Watchdog)
	cancel()
	close(asked)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// decision: SIGHUP
func TestHangupReloadsEverythingAndKeepsGoingAfterAFailure(t *testing.T) {
	calls := make(chan string, 10)
	r := NewReloads(slog.New(slog.DiscardHandler))
	r.Add("a", func() error { calls <- "a"; return errors.New("bad") })
	r.Add("b", func() error { calls <- "b"; return nil })
	hangup := func() {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangup() // before Run: not lost
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for round := range 2 {
		for _, want := range []string{"a", "b"} {
			select {
			case got := <-calls:
				if got != want {
					t.Errorf("%s was called, want %s", got, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s was not called in round %d", want, round)
			}
		}
		if round == 0 {
			hangup()
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := r.Reload(); err == nil || err.Error() != "reload a: bad" {
		t.Error(err)
	}
}

func TestExitStatusTellsUsageFromFailure(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
		text string
	}{
		{nil, 0, ""},
		{Usage(nil), 0, ""},
		{errors.New("broken"), 1, ": broken\n"},
		{fmt.Errorf("flags: %w", Usage(errors.New("bad flag"))), 2, ": flags: bad flag\n"},
	} {
		var stderr bytes.Buffer
		got := exitStatus(func(context.Context, []string, io.Writer, io.Writer) error { return tt.err }, nil, io.Discard, &stderr)
		if got != tt.want || !strings.HasSuffix(stderr.String(), tt.text) {
			t.Errorf("%v: status %d, %q", tt.err, got, stderr.String())
		}
	}
}

func TestSignalEndsTheContextOfAProgram(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		status := exitStatus(func(ctx context.Context, args []string, _, _ io.Writer) error {
			if len(args) != 1 || args[0] != "a" {
				return fmt.Errorf("arguments %q", args)
			}
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(10 * time.Second):
				return fmt.Errorf("%v did not end the context", s)
			}
		}, []string{"a"}, io.Discard, os.Stderr)
		if status != 0 {
			t.Errorf("%v: status %d", s, status)
		}
	}
}
