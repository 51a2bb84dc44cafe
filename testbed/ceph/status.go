package ceph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// askAgain passes between two questions of Await.
const askAgain = 30 * time.Millisecond

// Status is what a monitor says of its cluster.
type Status struct {
	Health string            // HEALTH_OK, HEALTH_WARN, HEALTH_ERR
	Checks map[string]string // what is wrong: code (as OSD_DOWN) → summary
	OSDs   int               // known, and of these
	Up     int
	In     int
	PGs    map[string]int // placement groups by state, as active+clean
	// Manager says whether the manager serves.
	Manager bool
}

// Healthy says whether n OSDs are up and in, every placement group is active and
// clean, and the cluster has nothing to complain of.
func (s Status) Healthy(n int) bool {
	return s.Health == "HEALTH_OK" && s.Manager && s.Up >= n && s.In >= n && !slices.ContainsFunc(slices.Collect(maps.Keys(s.PGs)),
		func(state string) bool { return state != "active+clean" })
}

// Serving says whether n OSDs, and no more, are up and every placement group takes reads and
// writes, if with fewer copies than it should have.
func (s Status) Serving(n int) bool {
	for state := range s.PGs {
		if !slices.Contains(strings.Split(state, "+"), "active") {
			return false
		}
	}
	return s.Manager && s.Up == n
}

// String is for errors.
func (s Status) String() string {
	text := fmt.Sprintf("%s, %d of %d OSDs up, %d in, manager %v, placement groups %v", s.Health, s.Up, s.OSDs, s.In, s.Manager, s.PGs)
	for _, code := range slices.Sorted(maps.Keys(s.Checks)) {
		text += "; " + code + ": " + s.Checks[code]
	}
	return text
}

// parseStatus reads what "ceph status" says as JSON.
func parseStatus(b []byte) (Status, error) {
	var raw struct {
		Health struct {
			Status string
			Checks map[string]struct{ Summary struct{ Message string } }
		}
		OSDMap struct {
			OSDs int `json:"num_osds"`
			Up   int `json:"num_up_osds"`
			In   int `json:"num_in_osds"`
		}
		PGMap struct {
			States []struct {
				Name  string `json:"state_name"`
				Count int
			} `json:"pgs_by_state"`
		}
		MgrMap struct{ Available bool }
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return Status{}, fmt.Errorf("status of the cluster: %w", err)
	}
	if raw.Health.Status == "" {
		return Status{}, errors.New("status of the cluster: no health in it")
	}
	s := Status{Health: raw.Health.Status, Checks: map[string]string{}, OSDs: raw.OSDMap.OSDs, Up: raw.OSDMap.Up, In: raw.OSDMap.In,
		PGs: map[string]int{}, Manager: raw.MgrMap.Available}
	for code, check := range raw.Health.Checks {
		s.Checks[code] = check.Summary.Message
	}
	for _, state := range raw.PGMap.States {
		s.PGs[state.Name] = state.Count
	}
	return s, nil
}

// Shell is the argument vector of a program that Await can talk to: "ceph" reads
// commands from its standard input. It spares the quarter of a second that the
// start of the program costs, each time but the first.
func Shell() []string {
	return []string{"/usr/bin/env", "PYTHONUNBUFFERED=1", "/usr/bin/ceph", "--format", "json"}
}

// AwaitDaemons waits until the daemons given, by their admin sockets as the caller
// sees them, do their part in the cluster.
func AwaitDaemons(ctx context.Context, sockets map[string]string) error {
	ticker := time.NewTicker(askAgain)
	defer ticker.Stop()
	for _, daemon := range slices.Sorted(maps.Keys(sockets)) {
		var last error
		for {
			err := Serves(ctx, daemon, sockets[daemon])
			if err == nil {
				break
			}
			if ctx.Err() == nil || last == nil { // what fails because time is up tells nothing
				last = err
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return fmt.Errorf("wait for Ceph daemons: %w; last: %w", ctx.Err(), last)
			}
		}
	}
	return nil
}

// Await asks the cluster for its status until done says that it is what is waited
// for. shell is Shell, ready to be started where it reaches the monitor; it is
// ended before Await returns.
func Await(ctx context.Context, shell *exec.Cmd, done func(Status) bool) (err error) {
	in, err := shell.StdinPipe()
	if err != nil {
		return err
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		return err
	}
	var words strings.Builder
	shell.Stderr, shell.WaitDelay = &words, time.Second
	if err := shell.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = shell.Process.Kill() })
	var last Status
	err = ask(ctx, in, json.NewDecoder(out), func(s Status) bool { last = s; return done(s) })
	stop()
	_ = in.Close() // what runs behind an nsenter is not killed with it, and ends by this
	_ = shell.Process.Kill()
	_ = shell.Wait() // it was killed
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("wait for the Ceph cluster: %w; last: %v: %s", err, last, lastLines(words.String()))
	}
	return nil
}

func ask(ctx context.Context, in io.Writer, out *json.Decoder, done func(Status) bool) error {
	ticker := time.NewTicker(askAgain)
	defer ticker.Stop()
	for {
		if _, err := io.WriteString(in, "status\n"); err != nil {
			return err
		}
		var answer json.RawMessage
		if err := out.Decode(&answer); err != nil {
			return err
		}
		s, err := parseStatus(answer)
		if err != nil {
			return err
		}
		if done(s) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
