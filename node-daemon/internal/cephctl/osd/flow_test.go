package osd

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/fake"
)

// maxCalls is more than any command makes.
const maxCalls = 300

func quiet(int64, int64, string) {}

func (r *rig) add(attempt int) (Added, error) {
	args := command.OSDAdd{Node: "hv1", Device: "/dev/sdb", Weight: 1.5, UUID: ours}
	return r.host().Add(r.t.Context(), rigCalls{r}, args, attempt, quiet)
}

// each runs fn with something happening at the first call, at the second, and so on,
// until nothing has happened any more.
func each(t *testing.T, how happening, fn func(t *testing.T, r *rig)) {
	for at := 1; at < maxCalls; at++ {
		happened := true
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.trap, r.how = at, how
			fn(t, r)
			if happened = r.called != ""; t.Failed() {
				t.Logf("at call %d, %s", at, r.called)
			}
		})
		if !happened || t.Failed() {
			return
		}
	}
	t.Errorf("something happens even at call %d", maxCalls)
}

// during runs an attempt in which it happens; survived is false if the daemon died.
func (r *rig) during(attempt func()) (survived bool) {
	r.calls, r.at = 0, r.trap
	defer func() { r.at = 0 }()
	return survive(attempt)
}

func (r *rig) expect(what, want string) {
	r.t.Helper()
	if got := r.state(); got != want {
		r.t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestAddMakesOneOSDWhereverTheDaemonDies(t *testing.T) {
	for _, how := range []happening{dies, diesAfter} {
		each(t, how, func(t *testing.T, r *rig) {
			r.during(func() { _, _ = r.add(1) })
			added, err := r.add(2)
			if err != nil || added.OSD == nil || !added.OSD.Up {
				t.Errorf("the next attempt: %+v, %v", added, err)
			}
			r.expect("after the next attempt", one(ours))
		})
	}
}

// A failure that has nothing to do with Ceph's silence leaves nothing behind, or the OSD
// if it has been up.
func TestAddThatFailsLeavesNothing(t *testing.T) {
	each(t, fails, func(t *testing.T, r *rig) {
		var added Added
		var err error
		r.during(func() { added, err = r.add(1) })
		switch {
		case err == nil:
			if r.called != "" {
				t.Error("a failure is not told")
			}
			r.expect("without a failure", one(ours))
		case added.OSD != nil:
			if !strings.Contains(err.Error(), "it stays") || !r.osds()[0].Booted {
				t.Errorf("%+v, %v", added, err)
			}
			r.expect("with an OSD that stays", one(ours))
		default:
			if !strings.Contains(err.Error(), errInjected.Error()) {
				t.Errorf("the reason is not told: %v", err)
			}
			r.expect("after the failure", nothing)
		}
	})
}

func TestDeviceInUseIsRefusedBeforeAnythingIsDone(t *testing.T) {
	r := newRig(t)
	r.disk = "used"
	added, err := r.add(1)
	if !errs.Is(err, errs.Conflict) || added.OSD != nil || !strings.Contains(err.Error(), "device /dev/sdb of host hv1: device /dev/sdb is used") {
		t.Errorf("%+v, %v", added, err)
	}
	r.expect("after the refusal", `disk="used" ready=false folder=""`)
}

func TestOSDThatDoesNotComeUpIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.dead = true
		begin := time.Now()
		_, err := r.add(1)
		if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "osd.0 has not come up within 3m0s; its daemon does not run") ||
			!strings.Contains(err.Error(), "everything was undone") {
			t.Error(err)
		}
		if took := time.Since(begin); took > DefaultLimits.Up+time.Minute {
			t.Errorf("it took %v", took)
		}
		r.expect("after the failure", nothing)
	})
}

func TestUndoIsFinishedWhereverTheDaemonDies(t *testing.T) {
	for _, how := range []happening{dies, diesAfter} {
		each(t, how, func(t *testing.T, r *rig) {
			r.dead = true
			r.during(func() { _, _ = r.add(1) })
			if added, err := r.add(2); err == nil || added.OSD != nil {
				t.Errorf("the next attempt: %+v, %v", added, err)
			}
			r.expect("after the next attempt", nothing)
		})
	}
}

func TestRefusalAfterAnInterruptionTakesTheOSDBack(t *testing.T) {
	r := newRig(t)
	r.how = diesAfter
	r.calls, r.at = 0, 2 // Check, NewOSD
	if survive(func() { _, _ = r.add(1) }) || r.called != "NewOSD" || len(r.osds()) != 1 {
		t.Fatalf("it died at %q, with %s", r.called, r.state())
	}
	r.at, r.disk = 0, "used"
	if _, err := r.add(2); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "is used; everything was undone") {
		t.Error(err)
	}
	r.expect("afterwards", `disk="used" ready=false folder=""`)
}

func TestOSDThatMayHoldDataIsNotTakenBack(t *testing.T) {
	for name, safe := range map[string]bool{"not safe": false, "safe": true} {
		r := newRig(t)
		made(t, r) // and the daemon died before it could tell
		if !safe {
			r.world.SetUnsafe(0, "osd.0 has placement groups mapped to it")
		}
		r.client.Fail(fake.CrushAdd, ceph.Refused(syscall.EINVAL, "refused"))
		added, err := r.add(2)
		if safe {
			if err == nil || added.OSD != nil {
				t.Errorf("%s: %+v, %v", name, added, err)
			}
			r.expect(name, nothing)
			continue
		}
		if err == nil || added.OSD == nil || !strings.Contains(err.Error(), "osd.0 has been up and may hold data: it stays") {
			t.Errorf("%s: %+v, %v", name, added, err)
		}
		r.expect(name, one(ours))
	}
}

func TestCephIsGivenTimeToNoticeThatADaemonHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		made(t, r)
		r.slow = true
		var noted *Noted
		if _, err := r.remove(false, &noted); err != nil {
			t.Error(err)
		}
		r.expect("after the removal", nothing)
		made(t, r)
		r.client.Fail(fake.CrushAdd, ceph.Refused(syscall.EINVAL, "refused"))
		if _, err := r.add(2); err == nil || !strings.Contains(err.Error(), "everything was undone") {
			t.Error(err)
		}
		r.expect("after the undoing", nothing)
	})
}

func TestCephThatFallsSilentIsLeftToTheNextAttempt(t *testing.T) {
	r := newRig(t)
	silent := errs.Unavailablef("no monitor answers")
	r.client.Before(fake.CrushAdd, func(string) { r.client.Fail(fake.OSDs, silent) })
	r.client.Fail(fake.CrushAdd, silent)
	if _, err := r.add(1); !errs.Is(err, errs.Unknown) || !strings.Contains(err.Error(), "osd.0 is still to be undone") {
		t.Fatal(err)
	}
	r.client.Fail(fake.CrushAdd, nil)
	if _, err := r.add(2); !errs.Is(err, errs.Unknown) {
		t.Fatalf("the OSD that an earlier attempt has registered is forgotten: %v", err)
	}
	r.client.Before(fake.CrushAdd, nil)
	r.client.Fail(fake.OSDs, nil)
	if _, err := r.add(3); err != nil {
		t.Fatal(err)
	}
	r.expect("in the end", one(ours))
}

// made is a rig with the OSD that is to be removed.
func made(t *testing.T, r *rig) {
	t.Helper()
	if _, err := r.add(1); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) remove(force bool, noted **Noted) (Removed, error) {
	return r.host().Remove(r.t.Context(), rigCalls{r}, command.OSDRemove{OSD: 0, Force: force}, Removal{
		Record: &model.OSD{ID: 0, Node: "hv1", Device: "/dev/sdb"}, Presence: func(string) Presence { return Connected }, Noted: *noted, Tell: quiet,
		Keep: func(_ context.Context, n Noted) error {
			return r.call("Keep", func() error { *noted = &n; return nil })
		},
	})
}

func TestRemoveIsFinishedWhereverTheDaemonDies(t *testing.T) {
	for _, how := range []happening{dies, diesAfter} {
		each(t, how, func(t *testing.T, r *rig) {
			made(t, r)
			var noted *Noted
			r.during(func() { _, _ = r.remove(false, &noted) })
			if removed, err := r.remove(false, &noted); err != nil || removed.Reused {
				t.Errorf("the next attempt: %+v, %v", removed, err)
			}
			r.expect("after the next attempt", nothing)
		})
	}
}

func TestRemoveThatFailsCanBeRepeated(t *testing.T) {
	each(t, fails, func(t *testing.T, r *rig) {
		made(t, r)
		var noted *Noted
		var removed Removed
		var err error
		r.during(func() { removed, err = r.remove(false, &noted) })
		if err == nil && r.called != "" && !strings.Contains(removed.Message, "was not erased") {
			t.Errorf("a failure of %s is not told: %q", r.called, removed.Message)
		}
		if err == nil {
			return
		}
		if len(r.osds()) > 0 {
			noted = nil // somebody asks anew
		}
		if _, err := r.remove(false, &noted); err != nil {
			t.Errorf("the next one: %v", err)
		}
		r.expect("after the next one", nothing)
	})
}

func TestRemoveWaitsUntilTheDataIsSafeElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		made(t, r)
		r.world.SetUnsafe(0, "osd.0 has placement groups mapped to it")
		r.world.AddOSD(ceph.OSD{ID: 7, UUID: theirs})
		time.AfterFunc(10*time.Minute, func() {
			if o := r.osds()[0]; !o.Up || o.In {
				t.Errorf("while its data moves: %+v", o)
			}
			r.world.SetUnsafe(0, "")
		})
		var noted *Noted
		begin := time.Now()
		if _, err := r.remove(false, &noted); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(begin); waited < 10*time.Minute || waited > 11*time.Minute {
			t.Errorf("it waited %v", waited)
		}
		if all := r.osds(); len(all) != 1 || all[0].ID != 7 {
			t.Errorf("left: %+v", all)
		}
	})
}

func TestForcedRemoveDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		made(t, r)
		r.world.SetUnsafe(0, "never")
		var noted *Noted
		begin := time.Now()
		if _, err := r.remove(true, &noted); err != nil || time.Since(begin) > time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		r.expect("afterwards", nothing)
	})
}

func TestRemoveThatDoesNotGetOnEndsWithTheOSDRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		made(t, r)
		r.world.SetUnsafe(0, "no other OSD can take 8 placement groups")
		var noted *Noted
		_, err := r.remove(false, &noted)
		if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "no other OSD can take") || !strings.Contains(err.Error(), "mark it in again") {
			t.Error(err)
		}
		r.expect("afterwards", one(ours))
	})
}

func TestUnknownOSDIsOnlyForgotten(t *testing.T) {
	r := newRig(t)
	r.disk = "used"
	var noted *Noted
	removed, err := r.remove(false, &noted)
	if err != nil || !strings.Contains(removed.Message, "unknown to Ceph") || removed.Reused {
		t.Errorf("%+v, %v", removed, err)
	}
	r.expect("afterwards", `disk="used" ready=false folder=""`)
}

func TestAnOSDThatGotTheIDMeanwhileIsLeftAlone(t *testing.T) {
	r := newRig(t)
	r.world.AddOSD(ceph.OSD{ID: 0, UUID: theirs, Up: true, In: true})
	r.disk, r.folder = ours, theirs
	noted := &Noted{UUID: ours, Device: "/dev/sdb"}
	removed, err := r.remove(false, &noted)
	if err != nil || !removed.Reused {
		t.Errorf("%+v, %v", removed, err)
	}
	r.expect("afterwards", fmt.Sprintf(`osd.0 %[1]s up=true host= weight=0; disk="" ready=false folder=%[1]q`, theirs))
	if !r.osds()[0].In {
		t.Error("the other OSD is out")
	}
}

func TestOSDOfAnotherHostIsRefusedWithTheReason(t *testing.T) {
	for name, tt := range map[string]struct {
		presence Presence
		reason   string
	}{
		"connected": {Connected, "its disk is in host hv2, which has to remove it; this is host hv1"},
		"away":      {Away, "its disk is in host hv2, whose daemon is not connected: the OSD can be marked out"},
		"foreign":   {Foreign, "it runs on host hv2, which is no node of this cluster: stop it there first"},
	} {
		r := newRig(t)
		r.world.AddOSD(ceph.OSD{ID: 0, UUID: theirs, Up: true, In: true, Host: "hv2"})
		_, err := r.host().Remove(t.Context(), rigCalls{r}, command.OSDRemove{OSD: 0, Force: true},
			Removal{Presence: func(string) Presence { return tt.presence }, Tell: quiet, Keep: func(context.Context, Noted) error { return nil }})
		if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: %v", name, err)
		}
		if o := r.osds()[0]; !o.In {
			t.Errorf("%s: it was marked out", name)
		}
	}
}

// TestOSDOfAHostThatIsGoneForGoodLeavesCeph: also when the daemon that does it dies on the way,
// nothing of this host's own is touched.
func TestOSDOfAHostThatIsGoneForGoodLeavesCeph(t *testing.T) {
	for _, how := range []happening{dies, diesAfter} {
		each(t, how, func(t *testing.T, r *rig) {
			r.world.AddOSD(ceph.OSD{ID: 0, UUID: theirs, In: true, Host: "hv2"})
			var noted *Noted
			remove := func() (Removed, error) {
				return r.host().Remove(r.t.Context(), rigCalls{r}, command.OSDRemove{OSD: 0, Force: true}, Removal{
					Record: &model.OSD{ID: 0, Node: "hv2", Device: "/dev/sdb"}, Presence: func(string) Presence { return Foreign }, Noted: noted, Tell: quiet,
					Keep: func(_ context.Context, n Noted) error {
						return r.call("Keep", func() error { noted = &n; return nil })
					},
				})
			}
			r.during(func() { _, _ = remove() })
			removed, err := remove()
			if err != nil {
				t.Fatal(err)
			}
			if noted != nil && !strings.Contains(removed.Message, "its disk in host hv2 was not erased") {
				t.Error(removed.Message)
			}
			if left := r.osds(); len(left) != 0 {
				t.Errorf("Ceph still has %+v", left)
			}
		})
	}
}

func TestProgressCountsTheGroupsThatLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		made(t, r)
		o := r.osds()[0]
		groups := func(n int) {
			o.Stats = &ceph.OSDStats{PGs: n}
			r.world.AddOSD(o)
			r.world.SetUnsafe(0, "groups are left")
		}
		groups(8)
		time.AfterFunc(30*time.Second, func() { groups(3) })
		time.AfterFunc(60*time.Second, func() { r.world.SetUnsafe(0, "") })
		var told []string
		_, err := r.host().Remove(t.Context(), rigCalls{r}, command.OSDRemove{OSD: 0}, Removal{
			Presence: func(string) Presence { return Connected }, Keep: func(context.Context, Noted) error { return nil },
			Tell: func(current, total int64, status string) {
				if line := fmt.Sprintf("%d/%d %s", current, total, status); len(told) == 0 || told[len(told)-1] != line {
					told = append(told, line)
				}
			},
		})
		want := []string{
			"0/4 marking the OSD out",
			"0/8 waiting until its data is safe elsewhere, 8 placement groups are left: groups are left",
			"5/8 waiting until its data is safe elsewhere, 3 placement groups are left: groups are left",
			"1/4 stopping the OSD", "2/4 removing the OSD from Ceph", "3/4 erasing the disk",
		}
		if got := strings.Join(told, "\n"); err != nil || got != strings.Join(want, "\n") {
			t.Errorf("%v, told:\n%s", err, got)
		}
	})
}
