package faults_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/faults"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
)

// dangerous are the cells of the short form.
var dangerous = []string{
	"transfer/kill source pvcd",
	"hand-over/stop source pvcd",
	"adopt/kill target pvcd",
	"transfer/kill source libvirtd",
	"finish/link cut between them",
	"transfer/power cut of target",
}

// TestMigrationUnderFaultsEndsWithOneGuestAndOneTruth breaks each thing at each step
// of the handshake.
//
// decision: failed migration
func TestMigrationUnderFaultsEndsWithOneGuestAndOneTruth(t *testing.T) {
	needLab(t)
	m := matrix{t: t}
	cells, left := chosen()
	for _, c := range cells {
		t.Run(c.name(), func(t *testing.T) { m.cell(t, c.step, c.fault) })
	}
	if left > 0 {
		t.Logf("%d cells of the matrix are left to PVC_TEST_LONG=1", left)
	}
	t.Logf("results:\n| step | fault | the guest | in order after | longest stand-still |\n|---|---|---|---|---|\n%s", strings.Join(m.rows, "\n"))
}

type cell struct {
	step  step
	fault fault
}

func (c cell) name() string { return c.step.name + "/" + c.fault.name }

// chosen are the cells to run, and how many are left out: all in the long form, those
// of PVC_FAULT_CELLS (step/fault,…) when one is looked into by hand.
func chosen() (cells []cell, left int) {
	all := map[string]cell{}
	var names []string
	for _, s := range steps {
		for _, f := range allFaults {
			c := cell{s, f}
			all[c.name()] = c
			names = append(names, c.name())
		}
	}
	if only := os.Getenv("PVC_FAULT_CELLS"); only != "" {
		names = strings.Split(only, ",")
	} else if !long {
		names = dangerous
	}
	for _, name := range names {
		if c, ok := all[name]; ok {
			cells = append(cells, c)
		}
	}
	return cells, len(all) - len(cells)
}

// matrix moves one guest through the cells for as long as it lives.
type matrix struct {
	t    *testing.T
	vm   *vm
	made int
	rows []string
}

// guest returns a guest that runs and writes.
func (x *matrix) guest(t *testing.T) *vm {
	t.Helper()
	if x.vm == nil {
		x.made++
		x.vm = newVMFrom(t, x.t, lab, fmt.Sprintf("ff-%d", x.made), images, lab.Host(1))
	}
	return x.vm
}

func (x *matrix) cell(t *testing.T, s step, f fault) {
	needLab(t)
	v := x.guest(t)
	x.vm = nil // again when it has stood this
	t.Cleanup(func() {
		if x.vm == nil {
			v.remove(t)
		}
	})
	m := &move{vm: v}
	m.source = v.host(t, v.waitSettled(t))
	m.target = v.next(m.source)
	v.writes(t)

	begin := time.Now()
	release := s.reach(t, m)
	f.begin(t, m)
	release()
	lost := false
	if f.end != nil {
		lost = m.waitOut(t, f)
	}
	took := m.converge(t)
	if err := faults.Once(v.witness.History()); err != nil {
		t.Error(err)
	}
	how := m.outcome(t, lost)
	x.rows = append(x.rows, fmt.Sprintf("| %s | %s | %s | %.1f s | %.1f s |", s.name, f.name, how, took.Seconds(), faults.Gap(v.witness.History(), begin).Seconds()))
	if !t.Failed() && !lost {
		x.vm = v
	}
	if took > f.within {
		t.Errorf("in order after %v, promised is %v", took, f.within)
	}
}

// converge waits until everything is in order and returns how long that took. A
// migration may go on after a fault: the time in which memory is sent does not count.
func (m *move) converge(t *testing.T) (took time.Duration) {
	t.Helper()
	at := time.Now()
	within(t, "everything is in order", func() error {
		now := time.Now()
		if _, under := m.witness.Sent(t.Context(), m.source.Name); !under {
			took += now.Sub(at)
		}
		at = now
		_, err := m.settled(t.Context())
		return err
	})
	return took + time.Since(at)
}

// waitOut waits until the fault has been repaired. lost reports that the target owned
// the guest when it lost its power: then the guest is gone, and nobody has started
// it elsewhere.
func (m *move) waitOut(t *testing.T, f fault) (lost bool) {
	t.Helper()
	f.end(t, m)
	if f.name != "power cut of target" {
		return false
	}
	r, err := m.records(t.Context())
	must(t, err)
	return r.claim == nil || r.claim.Owner.Node == m.target.Name
}

// outcome judges what the guest has written, and says where it is.
func (m *move) outcome(t *testing.T, lost bool) string {
	t.Helper()
	node, err := m.settled(t.Context())
	must(t, err)
	if lost {
		if node != m.target.Name {
			t.Errorf("the guest was lost with %s and started on %s", m.target.Name, node)
		}
		return "lost with the target, starts there when it is back"
	}
	m.writes(t)
	m.checkConsole(t)
	if node == m.source.Name {
		return "stays"
	}
	return "moves"
}

// checkConsole waits until the console log holds what the guest has written to its
// disk by now, and fails if a line is missing or doubled.
func (m *move) checkConsole(t *testing.T) {
	t.Helper()
	disk, err := m.sequence()
	must(t, err)
	within(t, "the console log is complete", func() error {
		var answer struct{ Data string }
		if err := json.Unmarshal([]byte(m.call(t, http.MethodGet, m.path("/console"))), &answer); err != nil {
			return err
		}
		s, err := consoleSequence(answer.Data)
		switch {
		case err != nil:
			return err
		case s.Boot != disk.Boot:
			return errors.New("it is of another boot")
		case s.Last < disk.Last:
			return fmt.Errorf("it ends with %d, the disk with %d", s.Last, disk.Last)
		}
		return nil
	})
}

// consoleSequence is guest.Console of a console log in which the daemons may have
// marked places where output is missing: that of a source that hung or was cut off.
func consoleSequence(text string) (all guest.Sequence, err error) {
	const most = 300 // records, as long as a fault lasts
	for part := range strings.SplitSeq(text, "\n--- ") {
		s, err := guest.Console([]byte(part))
		switch {
		case err != nil && s.Last == 0:
			continue // nothing between two marks
		case err != nil:
			return all, err
		case all.Last != 0 && (s.Boot != all.Boot || s.First <= all.Last || s.First > all.Last+1+most):
			return all, fmt.Errorf("after the mark number %d of boot %s follows %d of boot %s", s.First, s.Boot, all.Last, all.Boot)
		}
		all = s
	}
	if all.Last == 0 {
		return all, errors.New("it holds no line of a sequence")
	}
	return all, nil
}
