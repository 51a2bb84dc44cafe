package dhcp

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// record keeps leases in memory, as the cluster does in ZooKeeper.
type record struct {
	mu     sync.Mutex
	leases map[string]Lease // by VNI and key; one network in most tests
	fail   error            // of each call
	calls  int              // that changed something, or failed
	moved  chan struct{}    // has a value after a change
}

func newRecord(leases ...Lease) *record {
	r := &record{leases: map[string]Lease{}, moved: make(chan struct{}, 1)}
	for _, l := range leases {
		r.leases[l.key()] = l
	}
	return r
}

func (r *record) Known(context.Context, int) ([]Lease, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.leases)), r.fail
}

func (r *record) Put(_ context.Context, _ int, l Lease) error {
	return r.change(func() { r.leases[l.key()] = l })
}

func (r *record) Drop(_ context.Context, _ int, l Lease) error {
	return r.change(func() {
		if r.leases[l.key()].Address == l.Address {
			delete(r.leases, l.key())
		}
	})
}

func (r *record) change(f func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer wake(r.moved)
	r.calls++
	if r.fail == nil {
		f()
	}
	return r.fail
}

func (r *record) setFail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *record) all() (out []Lease) {
	out, _ = (&record{leases: r.snapshot()}).Known(context.Background(), 0)
	slices.SortFunc(out, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return out
}

func (r *record) snapshot() map[string]Lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.leases)
}

func equal(t *testing.T, want []Lease, got []Lease) {
	t.Helper()
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b Lease) bool { return a == b }), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

// told is an event as dnsmasq tells it.
func told(t *testing.T, words string, env ...string) event {
	t.Helper()
	m := map[string]string{envExpires: "2000"}
	for i := 0; i < len(env); i += 2 {
		m[env[i]] = env[i+1]
	}
	e, err := parseEvent(strings.Fields(words), m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func opened(t *testing.T, r *record, reservations ...model.Reservation) *book {
	t.Helper()
	b := newBook(100, r)
	b.setNaming(newNaming("lab.local", reservations))
	if _, _, err := b.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *book) must(t *testing.T, events ...event) {
	t.Helper()
	for _, e := range events {
		if _, err := b.apply(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.flush(t.Context(), func(l Lease, err error) { t.Errorf("%v lost: %v", l, err) }); err != nil {
		t.Fatal(err)
	}
}

func TestRecordFollowsTheServer(t *testing.T) {
	renewed := lease(mac1, "10.77.0.2", "web1")
	renewed.Expiry = 3000
	for name, tt := range map[string]struct {
		before []Lease
		events []event
		want   []Lease
		calls  int
	}{
		"a new lease":               {nil, []event{told(t, "add "+mac1+" 10.77.0.2", envHostname, "web1")}, []Lease{lease(mac1, "10.77.0.2", "web1")}, 1},
		"without a name":            {nil, []event{told(t, "add "+mac1+" 10.77.0.2")}, []Lease{lease(mac1, "10.77.0.2", "")}, 1},
		"renewed: the name stays":   {[]Lease{lease(mac1, "10.77.0.2", "web1")}, []event{told(t, "old "+mac1+" 10.77.0.2", envExpires, "3000")}, []Lease{renewed}, 1},
		"told again":                {[]Lease{lease(mac1, "10.77.0.2", "web1")}, []event{told(t, "old "+mac1+" 10.77.0.2")}, []Lease{lease(mac1, "10.77.0.2", "web1")}, 0},
		"another address":           {[]Lease{lease(mac1, "10.77.0.2", "web1")}, []event{told(t, "add "+mac1+" 10.77.0.3")}, []Lease{lease(mac1, "10.77.0.3", "web1")}, 1},
		"the end of the former":     {[]Lease{lease(mac1, "10.77.0.3", "web1")}, []event{told(t, "del "+mac1+" 10.77.0.2")}, []Lease{lease(mac1, "10.77.0.3", "web1")}, 0},
		"the end":                   {[]Lease{lease(mac1, "10.77.0.2", "web1")}, []event{told(t, "del "+mac1+" 10.77.0.2")}, nil, 1},
		"the end of an unknown one": {nil, []event{told(t, "del "+mac1+" 10.77.0.2")}, nil, 0},
		"the address of another": {[]Lease{lease(mac1, "10.77.0.2", "web1")}, []event{told(t, "add "+mac2+" 10.77.0.2", envHostname, "web2")},
			[]Lease{lease(mac2, "10.77.0.2", "web2")}, 2},
		"IPv6": {nil, []event{told(t, "add "+duid1+" fd00::2", envIAID, "7", envServerDUID, server1, envHostname, "web1.lab.local")},
			[]Lease{lease6of(duid1, "fd00::2", "web1")}, 1},
		"IPv6 after a reload": {[]Lease{lease6of(duid1, "fd00::2", "web1")}, []event{told(t, "old "+duid1+" fd00::2", envIAID, "7")},
			[]Lease{lease6of(duid1, "fd00::2", "web1")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecord(tt.before...)
			opened(t, r).must(t, tt.events...)
			equal(t, tt.want, r.all())
			if r.calls != tt.calls {
				t.Errorf("%d calls, want %d", r.calls, tt.calls)
			}
		})
	}
}

// decision: names of guests
func TestNameBelongsToTheReservationThenToTheFirst(t *testing.T) {
	reserved := []model.Reservation{{MAC: mac1, Address: addr("10.77.0.200"), Hostname: "db"}, {MAC: mac2, Address: addr("10.77.0.201")}}
	for name, tt := range map[string]struct {
		before []Lease
		event  event
		want   string
	}{
		"reserved, and the client says nothing": {nil, told(t, "add "+mac1+" 10.77.0.200"), "db"},
		"reserved, and the client says another": {nil, told(t, "add "+mac1+" 10.77.0.200", envHostname, "web"), "db"},
		"reserved for another":                  {nil, told(t, "add "+mac3+" 10.77.0.3", envHostname, "db"), ""},
		"reserved since for another":            {[]Lease{lease(mac3, "10.77.0.3", "db")}, told(t, "old "+mac3+" 10.77.0.3"), ""},
		"a reservation without name":            {nil, told(t, "add "+mac2+" 10.77.0.201", envHostname, "web"), "web"},
		"owned by another":                      {[]Lease{lease(mac2, "10.77.0.4", "web")}, told(t, "add "+mac3+" 10.77.0.3", envHostname, "web"), ""},
		"owned, in capitals":                    {[]Lease{lease(mac2, "10.77.0.4", "web")}, told(t, "add "+mac3+" 10.77.0.3", envHostname, "WEB"), ""},
		"owned by itself":                       {[]Lease{lease(mac3, "10.77.0.4", "web")}, told(t, "add "+mac3+" 10.77.0.3", envHostname, "web"), "web"},
		"changed":                               {[]Lease{lease(mac3, "10.77.0.3", "web")}, told(t, "old "+mac3+" 10.77.0.3", envHostname, "app"), "app"},
		"changed to a refused one":              {[]Lease{lease(mac3, "10.77.0.3", "web")}, told(t, "old "+mac3+" 10.77.0.3", envHostname, "a b"), ""},
		"with the domain":                       {nil, told(t, "add "+mac3+" 10.77.0.3", envHostname, "Web.LAB.local."), "web"},
		"with another domain":                   {nil, told(t, "add "+mac3+" 10.77.0.3", envHostname, "web.example.com"), ""},
		"of one's IPv4 lease": {[]Lease{lease(mac1[:16]+"7", "10.77.0.3", "web")},
			told(t, "add 00:03:00:01:52:54:00:00:00:07 fd00::2", envIAID, "7", envHostname, "web"), "web"},
		"of one's IPv4 lease, by the packet's MAC": {[]Lease{lease(mac3, "10.77.0.3", "web")},
			told(t, "add 00:04:01:02 fd00::2", envIAID, "7", envHostname, "web", envMAC, mac3), "web"},
		"IPv6: of another": {[]Lease{lease(mac3, "10.77.0.3", "web")},
			told(t, "add 00:04:01:02 fd00::2", envIAID, "7", envHostname, "web"), ""},
		"IPv6: reserved": {nil, told(t, "add 00:04:01:02 fd00::2", envIAID, "7", envHostname, "web", envMAC, mac1), "db"},
		"IPv6: two addresses of a guest": {[]Lease{lease6of("00:04:01:02", "fd00::3", "web")},
			told(t, "add 00:04:01:02 fd00::2", envIAID, "8", envHostname, "web"), "web"},
		"wpad":      {nil, told(t, "add "+mac3+" 10.77.0.3", envHostname, "wpad"), ""},
		"localhost": {nil, told(t, "add "+mac3+" 10.77.0.3", envHostname, "localhost.lab.local"), ""},
		"a line":    {nil, told(t, "add "+mac3+" 10.77.0.3", envHostname, "web\nx"), ""},
		"bytes":     {nil, told(t, "add "+mac3+" 10.77.0.3", envHostname, "w\xffb"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecord(tt.before...)
			opened(t, r, reserved...).must(t, tt.event)
			if got := r.snapshot()[tt.event.lease.key()].Hostname; got != tt.want {
				t.Errorf("name %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOutageOfTheRecordDelaysAndLosesNothing(t *testing.T) {
	r := newRecord(lease(mac1, "10.77.0.2", "web1"), lease(mac2, "10.77.0.3", ""))
	b := opened(t, r)
	r.setFail(errs.Unavailablef("no quorum"))
	for _, e := range []event{
		told(t, "add "+mac3+" 10.77.0.4"), told(t, "del "+mac1+" 10.77.0.2"),
		told(t, "old "+mac2+" 10.77.0.3", envExpires, "3000"), told(t, "old "+mac2+" 10.77.0.3", envExpires, "4000"),
	} {
		if due, err := b.apply(e); err != nil || !due {
			t.Fatalf("%v: %v, %v", e, due, err)
		}
	}
	if err := b.flush(t.Context(), nil); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("error %v", err)
	}
	if got := b.left(); got != 3 {
		t.Errorf("%d changes are due, want 3: one per lease", got)
	}
	r.setFail(nil)
	// dnsmasq has died meanwhile: its successor has to know of what is not on record.
	text, left, err := b.load(t.Context())
	if d := cmp.Diff("2000 "+mac3+" 10.77.0.4 * *\n4000 "+mac2+" 10.77.0.3 * *\n", text); d != "" || left != nil || err != nil {
		t.Errorf("%v, %v, want (-), got (+):\n%s", left, err, d)
	}
	b.must(t)
	last := lease(mac2, "10.77.0.3", "")
	last.Expiry = 4000
	equal(t, []Lease{last, lease(mac3, "10.77.0.4", "")}, r.all())
}

func TestImpossibleRecordIsGivenUp(t *testing.T) {
	for _, fail := range []error{errs.NotFoundf("network 100"), errs.Invalidf("mac"), errs.Deniedf("no")} {
		r := newRecord()
		b := opened(t, r)
		r.setFail(fail)
		if _, err := b.apply(told(t, "add "+mac3+" 10.77.0.4")); err != nil {
			t.Fatal(err)
		}
		var lost []Lease
		if err := b.flush(t.Context(), func(l Lease, _ error) { lost = append(lost, l) }); err != nil {
			t.Fatal(err)
		}
		equal(t, []Lease{lease(mac3, "10.77.0.4", "")}, lost)
		if b.left() != 0 {
			t.Errorf("%v: it is tried again", fail)
		}
	}
}

func TestChangeBeforeTheRecordIsKnownIsRefused(t *testing.T) {
	b := newBook(100, newRecord())
	if _, err := b.apply(told(t, "add "+mac3+" 10.77.0.4")); !errs.Is(err, errs.Unavailable) {
		t.Errorf("error %v", err)
	}
	r := newRecord()
	r.setFail(errs.Unavailablef("no quorum"))
	if _, _, err := newBook(100, r).load(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Errorf("error %v", err)
	}
}

func TestCallWithNonsenseIsRefused(t *testing.T) {
	six := map[string]string{envIAID: "7"}
	for name, tt := range map[string]struct {
		args string
		env  map[string]string
	}{
		"too short":         {"add " + mac1, nil},
		"address":           {"add " + mac1 + " 10.77.0", nil},
		"address with zone": {"add " + duid1 + " fe80::1%eth0", six},
		"mapped address":    {"add " + mac1 + " ::ffff:10.77.0.2", six},
		"token ring":        {"add 06-01:23:45:67:89:ab 10.77.0.2", nil},
		"multicast MAC":     {"add 01:00:5e:00:00:01 10.77.0.2", nil},
		"zero MAC":          {"add 00:00:00:00:00:00 10.77.0.2", nil},
		"expiry":            {"add " + mac1 + " 10.77.0.2", map[string]string{envExpires: "soon"}},
		"negative expiry":   {"add " + mac1 + " 10.77.0.2", map[string]string{envExpires: "-1"}},
		"client id":         {"add " + mac1 + " 10.77.0.2", map[string]string{envClientID: "01 02"}},
		"long client id":    {"add " + mac1 + " 10.77.0.2", map[string]string{envClientID: strings.Repeat("00:", 255) + "00"}},
		"DUID":              {"add 00:zz fd00::2", six},
		"long DUID":         {"add " + strings.Repeat("00:", 130) + "00 fd00::2", six},
		"no IAID":           {"add " + duid1 + " fd00::2", nil},
		"large IAID":        {"add " + duid1 + " fd00::2", map[string]string{envIAID: "4294967296"}},
		"server's DUID":     {"add " + duid1 + " fd00::2", map[string]string{envIAID: "7", envServerDUID: "x"}},
	} {
		if e, err := parseEvent(strings.Fields(tt.args), tt.env); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}
