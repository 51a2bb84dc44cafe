package nets

import (
	"net/http"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// holdsNothing fails if a host has something that only a primary has.
func holdsNothing(t *testing.T, h *host.Host) {
	t.Helper()
	out, err := h.Exec(t.Context(), "sh", "-c", "nft list ruleset; ip -o addr show | grep -v -e fe80: -e ' lo ' -e ' eth0 .* "+h.Addr()+"/'; pgrep -x dnsmasq; true")
	must(t, err)
	if strings.TrimSpace(out) != "" {
		t.Errorf("%s holds %s", h.Name, out)
	}
}

// decision: hosts without networks
func TestAHostThatIsNoCoordinatorConnectsItsGuestsAndDoesNoMore(t *testing.T) {
	t.Parallel()
	m := connected(t, "150", "plain", "150")
	b := start(t, "nnplain2", "vmbr150", hypervisor, "", "")
	b.Address(t)
	b.Reaches(t, m.Address(t))
	holdsNothing(t, hypervisor)
	if status, body := ask(t, http.MethodPost, "/node/"+hypervisor.Name+"/coordinator-state", "coordinator-state", "primary"); status != 510 {
		t.Errorf("%d %s", status, body)
	}
	if out, err := hypervisor.Exec(t.Context(), "cat", "/proc/sys/net/ipv4/ip_forward"); err != nil || strings.TrimSpace(out) != "0" {
		t.Errorf("it forwards packets: %s %v", out, err)
	}
}

// decision: hosts without networks
func TestAHostWithoutNetworksHasNoneAndGetsNoGuestThatNeedsOne(t *testing.T) {
	t.Parallel()
	connected(t, "151", "absent", "151")
	links := func() string {
		out, err := unconnected.Exec(t.Context(), "sh", "-c", "ip -o link | cut -d: -f2 | cut -d@ -f1; cat /proc/sys/net/ipv4/ip_forward")
		must(t, err)
		return strings.Join(strings.Fields(out), " ")
	}
	if got := links(); got != "lo eth0 0" {
		t.Errorf("it has %s", got)
	}
	holdsNothing(t, unconnected)

	xml := guest.Linux(guest.Options{Name: "nnabsent2", Images: images, Bridge: "vmbr151"})
	body := do(t, http.MethodPost, "/vm", "xml", xml, "node", unconnected.Name)
	t.Cleanup(func() { do(t, http.MethodDelete, "/vm/nnabsent2") })
	if strings.Contains(body, "is defined on "+unconnected.Name) {
		t.Error(body)
	}
	do(t, http.MethodPost, "/vm/nnabsent2/node", "action", "move", "node", unconnected.Name)
	if vms := list[struct{ Node string }](t, "/vm/nnabsent2"); vms[0].Node == unconnected.Name {
		t.Error("a VM with a network was moved to a host that has none")
	}
	// One that needs no network runs there as anywhere.
	start(t, "nnabsent3", "", unconnected, "", "")
}
