package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

const post, del = http.MethodPost, http.MethodDelete

// decision: start
// decision: restart
// decision: stop
// decision: setting what is so
func TestVMGoesThroughItsLife(t *testing.T) {
	t.Parallel()
	const vm = "eelife"
	defineTick(t, 1, vm)
	if v := waitState(t, vm, "stop"); v.Node != cluster.Host(1).Name {
		t.Errorf("defined on %s", v.Node)
	}
	refused(t, "restart", post, "/vm/"+vm+"/state", "state=restart")
	do(t, post, "/vm/"+vm+"/state", "state=start", "wait=True")
	waitState(t, vm, "start")
	if m := do(t, post, "/vm/"+vm+"/state", "state=start"); !strings.Contains(m, "already") {
		t.Errorf("second start: %q", m)
	}
	waitTicks(t, vm, 2)
	first := theQEMU(t, vm)
	do(t, post, "/vm/"+vm+"/state", "state=restart", "wait=True")
	waitState(t, vm, "start")
	if theQEMU(t, vm) == first {
		t.Error("the process is the same after a restart")
	}
	within(t, deadline, "the second boot", func() string {
		text := console(t, vm)
		if boots, last, _ := ticks(text); boots != 2 || last < 1 || !strings.Contains(text, "TICK powerdown") {
			return "its console: " + text
		}
		return ""
	})
	do(t, post, "/vm/"+vm+"/state", "state=shutdown", "wait=True")
	waitState(t, vm, "stop")
	if text := console(t, vm); strings.Count(text, "TICK powerdown") != 2 {
		t.Errorf("the guest was not asked to shut down, or its last word is lost:\n%s", text)
	}
	if m := do(t, post, "/vm/"+vm+"/state", "state=shutdown"); !strings.Contains(m, "already") {
		t.Errorf("second shutdown: %q", m)
	}
	do(t, post, "/vm/"+vm+"/state", "state=start", "wait=True")
	do(t, post, "/vm/"+vm+"/state", "state=stop", "wait=True")
	waitState(t, vm, "stop")
	do(t, del, "/vm/"+vm)
	if v, there := getVM(t, vm); there {
		t.Errorf("deleted, but there: %+v", v)
	}
}

// decision: shutdown
func TestGuestThatIgnoresThePowerButtonIsDestroyedInTime(t *testing.T) {
	t.Parallel()
	const vm = "eedeaf"
	startTick(t, 2, vm)
	typeTo(t, cluster.Host(2), vm, "i")
	waitTicks(t, vm, waitTicks(t, vm, 1)+3) // the byte is read between two ticks, which are told a second later
	do(t, post, "/vm/"+vm+"/state", "state=shutdown")
	during(t, shutdownTimeout*8/10, "within its time", func() string {
		if len(qemus(vm)) == 0 {
			return "the guest is gone: " + console(t, vm)
		}
		return ""
	})
	waitState(t, vm, "stop")
	if text := console(t, vm); strings.Contains(text, "powerdown") {
		t.Errorf("it shut down by itself:\n%s", text)
	}
}

// decision: failing start
// decision: what 200 means
func TestFailingStartSaysLibvirtsReasonAndALaterStartClearsIt(t *testing.T) {
	t.Parallel()
	const vm = "eefail"
	good := guest.Tick(guest.Options{Name: vm, Images: images})
	define(t, 3, vm, strings.Replace(good, images.Tick, images.Tick+"-missing", 1))
	refused(t, "tick.bin-missing", post, "/vm/"+vm+"/state", "state=start", "wait=True")
	v := waitState(t, vm, "failed")
	if !strings.Contains(v.FailedReason, "tick.bin-missing") {
		t.Errorf("reason %q", v.FailedReason)
	}
	withUUID := strings.Replace(good, "</name>", "</name>\n<uuid>"+v.UUID+"</uuid>", 1)
	do(t, http.MethodPut, "/vm/"+vm, "xml="+withUUID)
	do(t, post, "/vm/"+vm+"/state", "state=start", "wait=True")
	if v = waitState(t, vm, "start"); v.FailedReason != "" {
		t.Errorf("reason after a start that succeeded: %q", v.FailedReason)
	}
}

// decision: domain type
func TestGuestThatItsHostCannotRunFailsWithTheReason(t *testing.T) {
	t.Parallel()
	xml := func(vm string) string { return guest.Tick(guest.Options{Name: vm, Images: images}) }
	for vm, c := range map[string]struct{ xml, reason string }{
		"eemachine": {strings.Replace(xml("eemachine"), "machine='pc'", "machine='pc-none-9.9'", 1), "pc-none-9.9"},
		"eenokvm":   {strings.Replace(xml("eenokvm"), "type='qemu'", "type='kvm'", 1), "kvm"},
		"eebridge": {strings.Replace(xml("eebridge"), "</devices>",
			"<interface type='bridge'><source bridge='eenone'/></interface></devices>", 1), "eenone"},
	} {
		if vm == "eenokvm" && hostHasKVM(t, cluster.Host(1)) {
			t.Log("not tested: a KVM guest on a host without KVM, for this host has it")
			continue
		}
		define(t, 1, vm, c.xml)
		refused(t, c.reason, post, "/vm/"+vm+"/state", "state=start", "wait=True")
		if v := waitState(t, vm, "failed"); !strings.Contains(v.FailedReason, c.reason) {
			t.Errorf("%s: reason %q", vm, v.FailedReason)
		}
	}
}

func hostHasKVM(t *testing.T, h *host.Host) bool {
	t.Helper()
	return strings.Contains(execute(t, h, "virsh", "-q", "capabilities"), "domain type='kvm'")
}

// decision: power-off from inside
func TestGuestThatPowersItselfOffStaysOffWithTheReason(t *testing.T) {
	t.Parallel()
	const vm = "eeoff"
	startTick(t, 1, vm)
	typeTo(t, cluster.Host(1), vm, "q")
	if v := waitState(t, vm, "stop"); !strings.Contains(v.FailedReason, "powered itself off") {
		t.Errorf("reason %q", v.FailedReason)
	}
	if text := console(t, vm); !strings.Contains(text, "TICK powerdown") {
		t.Errorf("its last word is missing:\n%s", text)
	}
}

// decision: crash
func TestCrashedGuestIsStartedAgainUntilItCrashesTooOften(t *testing.T) {
	t.Parallel()
	const vm = "eecrash"
	startTick(t, 2, vm)
	for crash := 1; crash < crashLimit; crash++ {
		killQEMU(t, vm)
		within(t, deadline, fmt.Sprintf("start after crash %d", crash), func() string {
			v, _ := getVM(t, vm)
			if boots, last, _ := ticks(console(t, vm)); v.State != "start" || boots != crash+1 || last < 1 {
				return fmt.Sprintf("%+v, %d boots", v, boots)
			}
			return ""
		})
	}
	killQEMU(t, vm)
	if v := waitState(t, vm, "failed"); !strings.Contains(v.FailedReason, "too often") {
		t.Errorf("reason %q", v.FailedReason)
	}
	do(t, post, "/vm/"+vm+"/state", "state=start", "wait=True")
	waitState(t, vm, "start")
}
