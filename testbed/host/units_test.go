package host

import (
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// say sends a request as a process of the host would, and returns the answer.
func say(t *testing.T, h *Host, text string) response {
	t.Helper()
	conn, err := net.Dial("unix", h.Path(ControlSocket))
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(deadline)))
	_, err = conn.Write([]byte(text))
	must(t, err)
	var answer response
	must(t, json.NewDecoder(conn).Decode(&answer))
	return answer
}

// unitStatus is the status of one unit without what differs from run to run.
func unitStatus(t *testing.T, h *Host, unit string) []Status {
	t.Helper()
	answer := say(t, h, `{"verb":"status","service":"`+unit+`"}`)
	if answer.Error != "" {
		t.Fatal(answer.Error)
	}
	for i := range answer.Status {
		answer.Status[i].PID = min(answer.Status[i].PID, 1)
	}
	return answer.Status
}

func TestUnitsOfATemplateObeyProcessesOfTheirHost(t *testing.T) {
	_, hosts := rig(t, 1, Service{Name: "idle@", Argv: []string{"/bin/sleep", "1000%i"}, Log: "/var/log/idle.%i"})
	h := hosts[0]
	check := func(when string, want ...Status) {
		t.Helper()
		if diff := cmp.Diff(want, unitStatus(t, h, "idle@7")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", when, diff)
		}
	}
	obeys := func(verb string) {
		t.Helper()
		if answer := say(t, h, `{"verb":"`+verb+`","service":"idle@7"}`); answer.Error != "" {
			t.Fatalf("%s: %s", verb, answer.Error)
		}
	}
	check("before the first start")
	obeys("stop") // of one that does not run, as systemd allows it
	obeys("up")
	check("started", Status{Name: "idle@7", PID: 1, Starts: 1})
	obeys("up")
	check("started twice", Status{Name: "idle@7", PID: 1, Starts: 1})
	all, err := h.Status(t.Context())
	must(t, err)
	if b, err := os.ReadFile("/proc/" + jsonOf(t, all[0].PID) + "/cmdline"); err != nil || string(b) != "/bin/sleep\x0010007\x00" {
		t.Errorf("command line %q, %v", b, err)
	}
	must(t, h.Kill(t.Context(), "idle@7"))
	within(t, "a killed unit is started again", func() bool { s := unitStatus(t, h, "idle@7"); return s[0].PID != 0 && s[0].Starts == 2 })
	obeys("enable")
	obeys("stop")
	check("stopped", Status{Name: "idle@7", Starts: 2, Down: true, Enabled: true})
	must(t, h.PowerCut())
	must(t, h.PowerOn(t.Context()))
	within(t, "an enabled unit starts at boot", func() bool { return len(unitStatus(t, h, "idle@7")) == 1 })
	check("after a boot", Status{Name: "idle@7", PID: 1, Starts: 1, Enabled: true})
	obeys("stop")
	obeys("disable")
	check("disabled")
	must(t, h.PowerCut())
	must(t, h.PowerOn(t.Context()))
	check("after a boot without it")
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}

func TestUnitsWithoutATemplateAreRefused(t *testing.T) {
	_, hosts := rig(t, 1, Service{Name: "idle@", Argv: []string{"/bin/sleep", "1000%i"}, Log: "/var/log/idle.%i"})
	for request, fault := range map[string]string{
		`{"verb":"up","service":"other@1"}`:          "no such service",
		`{"verb":"up","service":"idle@"}`:            "no such service",
		`{"verb":"up","service":"idle@../../x"}`:     "no such service",
		`{"verb":"enable","service":"other@1"}`:      "no such unit",
		`{"verb":"enable","service":"idle@../../x"}`: "no such unit",
		`{"verb":"disable","service":"idle@../x"}`:   "no such unit",
		`{"verb":"kill","service":"idle@1"}`:         "does not run",
		`{"verb":"fly","service":"idle@1"}`:          "does not run",
		`{"verb":"define","define":{"Name":"idle"}}`: "no service given",
	} {
		if answer := say(t, hosts[0], request); answer.Error != fault {
			t.Errorf("%s: %q, want %q", request, answer.Error, fault)
		}
	}
}

func TestHostEnabledBeforeItsFirstBootStartsTheUnit(t *testing.T) {
	sw, hosts := rig(t, 1)
	h := &Host{Name: strings.TrimSuffix(hosts[0].Name, "1") + "2", Index: 2, Switch: sw, Dir: hosts[0].Dir + "b",
		Services: []Service{{Name: "idle@", Argv: []string{"/bin/sleep", "1000%i"}, Log: "/var/log/idle.%i"}}}
	must(t, h.Enable("idle@3"))
	must(t, h.PowerOn(t.Context()))
	t.Cleanup(func() { must(t, h.PowerCut()) })
	within(t, "the unit runs", func() bool { s := unitStatus(t, h, "idle@3"); return len(s) == 1 && s[0].PID != 0 })
}
