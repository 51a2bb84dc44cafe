package httpapi

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

const (
	officeJSON = `{"vni":100,"description":"office","type":"managed","mtu":1400,"domain":"office.local","name_servers":["10.100.0.2"],` +
		`"ip4":{"network":"10.100.0.0/24","gateway":"10.100.0.1","dhcp_flag":"True","dhcp_start":"10.100.0.100","dhcp_end":"10.100.0.199"},` +
		`"ip6":{"network":"2001:db8:1::/64","gateway":"2001:db8:1::1","dhcp_flag":"True"}}`
	uplinkJSON = `{"vni":7,"description":"uplink","type":"bridged","mtu":0,"domain":"None","name_servers":[],` +
		`"ip4":{"network":"None","gateway":"None","dhcp_flag":"False","dhcp_start":"None","dhcp_end":"None"},` +
		`"ip6":{"network":"None","gateway":"None","dhcp_flag":"False"}}`

	lease1     = `{"hostname":"web1","ip4_address":"10.100.0.100","ip6_address":"None","mac_address":"52:54:00:00:00:01","timestamp":"4102444800"}`
	lease2     = `{"hostname":"db1","ip4_address":"10.100.0.10","ip6_address":"None","mac_address":"52:54:00:00:00:02","timestamp":"static"}`
	lease4     = `{"hostname":"None","ip4_address":"10.100.0.102","ip6_address":"None","mac_address":"52:54:00:00:00:04","timestamp":"0"}`
	lease5     = `{"hostname":"None","ip4_address":"10.100.0.103","ip6_address":"None","mac_address":"52:54:00:00:00:05","timestamp":"4102444801"}`
	lease66    = `{"hostname":"six","ip4_address":"None","ip6_address":"2001:db8:1::66","mac_address":"52:54:00:00:00:66","timestamp":"4102444802"}`
	lease67    = `{"hostname":"None","ip4_address":"None","ip6_address":"2001:db8:1::67","mac_address":"None","timestamp":"0"}`
	reserved5  = `{"hostname":"None","ip4_address":"10.100.0.11","ip6_address":"None","mac_address":"52:54:00:00:00:05","timestamp":"static"}`
	reserved6  = `{"hostname":"idle","ip4_address":"10.100.0.12","ip6_address":"None","mac_address":"52:54:00:00:00:06","timestamp":"static"}`
	ruleIn     = `{"direction":"in","order":0,"description":"ssh","rule":"tcp dport 22 accept"}`
	ruleInNo   = `{"direction":"in","order":1,"description":"no","rule":"drop"}`
	ruleOutSSH = `{"direction":"out","order":0,"description":"ssh","rule":"tcp dport 22 drop"}`
)

// decision: networks
// decision: network filter
// decision: unset network values
// decision: leases
// decision: one lease
// decision: rules
// decision: `dhcp` and `lease`
func TestNetworksLeasesAndRulesAreShownAsWritten(t *testing.T) {
	b := newBench(t)
	list := func(elements ...string) string { return "[" + strings.Join(elements, ",") + "]" }
	for _, tt := range []struct {
		target string
		status int
		want   string // the body, or a part of the message of a failure
	}{
		{"/network", 200, list(uplinkJSON, officeJSON)},
		{"/network?limit=off", 200, list(officeJSON)},
		{"/network?limit=^7", 200, list(uplinkJSON)},
		{"/network?limit=Office", 200, list()},
		{"/network/office", 200, list(officeJSON)},
		{"/network/100", 200, list(officeJSON)},
		{"/network/off", 200, list()},
		{"/network/office/lease", 200, list(lease1, lease2, lease4, lease5, lease66, lease67)},
		{"/network/office/lease?static=False", 200, list(lease1, lease2, lease4, lease5, lease66, lease67)},
		{"/network/office/lease?static", 200, list(lease2, reserved5, reserved6)},
		{"/network/office/lease?static=True&limit=06$", 200, list(reserved6)},
		{"/network/100/dhcp?limit=:0[45]", 200, list(lease4, lease5)},
		{"/network/uplink/lease", 200, list()},
		{"/network/off/lease", 510, `"off"`},
		{"/network/off/dhcp", 510, `"off"`},
		{"/network/office/dhcp/525400000001", 200, list(lease1)},
		{"/network/office/lease/52-54-00-00-00-02", 200, list(lease2)},
		{"/network/office/lease/52:54:00:00:00:05", 200, list(lease5)},
		{"/network/office/lease/52:54:00:00:00:06", 200, list(reserved6)},
		{"/network/office/lease/52:54:00:00:00:03", 200, list()}, // it has ended
		{"/network/office/lease/52:54:00:00:00:66", 200, list(lease66)},
		{"/network/office/lease/web1", 200, list()},
		{"/network/off/lease/525400000001", 510, `"off"`},
		{"/network/office/acl", 200, list(ruleIn, ruleInNo, ruleOutSSH)},
		{"/network/office/acl?direction=in", 200, list(ruleIn, ruleInNo)},
		{"/network/office/acl?direction=out&limit=n", 200, list()},
		{"/network/office/acl?limit=ssh", 200, list(ruleIn, ruleOutSSH)},
		{"/network/office/acl/ssh", 200, list(ruleIn, ruleOutSSH)},
		{"/network/office/acl/ss", 200, list()},
		{"/network/uplink/acl", 200, list()},
		{"/network/off/acl", 510, `"off"`},
		{"/network/off/acl/ssh", 510, `"off"`},
	} {
		w := b.serve(asked("GET", "/api/v1"+tt.target))
		if w.Code != tt.status || w.Code == StatusFailed && !strings.Contains(messageOf(t, w), tt.want) {
			t.Errorf("%s: %d %s", tt.target, w.Code, w.Body)
		}
		if d := cmp.Diff(tt.want+"\n", w.Body.String()); tt.status == 200 && d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.target, d)
		}
	}
}

// decision: unchanged lists
func TestTheListOfNetworksIsMadeAnewWhenOneChanges(t *testing.T) {
	b := newBench(t)
	first := b.serve(asked("GET", "/api/v1/network"))
	again := asked("GET", "/api/v1/network")
	again.Header.Set("If-None-Match", first.Header().Get("ETag"))
	if w := b.serve(again); w.Code != http.StatusNotModified {
		t.Errorf("unchanged: %d %s", w.Code, w.Body)
	}
	b.picture.mu.Lock()
	changed := *b.picture.networks[1]
	changed.IP4.Gateway = netip.MustParseAddr("10.100.0.254")
	b.picture.networks = []*model.Network{b.picture.networks[0], &changed}
	b.picture.generation++
	b.picture.mu.Unlock()
	if w := b.serve(again); w.Code != 200 || !strings.Contains(w.Body.String(), `"gateway":"10.100.0.254"`) || !json.Valid(w.Body.Bytes()) {
		t.Errorf("changed: %d %s", w.Code, w.Body)
	}
}

// decision: network lists
// decision: unset network values
func TestListsOfAValueAreTakenFromEveryText(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct {
		query string
		want  cluster.Edit[[]string]
	}{
		{"name_servers=10.0.0.1,10.0.0.2", cluster.Edit[[]string]{Given: true, To: []string{"10.0.0.1", "10.0.0.2"}}},
		{"name_servers=10.0.0.1&name_servers=10.0.0.2", cluster.Edit[[]string]{Given: true, To: []string{"10.0.0.1", "10.0.0.2"}}},
		{"name_servers=+10.0.0.1+,,", cluster.Edit[[]string]{Given: true, To: []string{"10.0.0.1"}}},
		{"name_servers=None", cluster.Edit[[]string]{Given: true}},
		{"name_servers=", cluster.Edit[[]string]{Given: true}},
		{"", cluster.Edit[[]string]{}},
	} {
		w := b.serve(asked("PUT", "/api/v1/network/office?mtu=None&"+tt.query))
		want := called(cluster.ModifyNetwork{Network: "office", MTU: cluster.Edit[int]{Given: true}, NameServers: tt.want})
		if got := b.changes.take(); w.Code != 200 || got != want {
			t.Errorf("%s: %d, %s, want %s", tt.query, w.Code, got, want)
		}
	}
}
