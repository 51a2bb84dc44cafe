package dhcp

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// lasting waits until the record has a lease with those values and returns it.
func (r *record) lasting(t testing.TB, key, address, name string) (l Lease) {
	t.Helper()
	eventually(t, fmt.Sprintf("a lease of %s with %s and %q is on record: %v", key, address, name, r.snapshot()), func() bool {
		l = r.snapshot()[key]
		return l.Address == addr(address) && l.Hostname == name
	})
	return l
}

func TestGuestLearnsWhatTheNetworkSays(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	n := network4()
	n.NameServers = []netip.Addr{addr("9.9.9.9"), addr("1.1.1.1")}
	h.serve(t, n)
	g := newGuest(t, h, "vmbr100", "tap1", mac1)
	script := filepath.Join(h.dir, "bound")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" = bound ] && env > "+h.dir+"/lease\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(48 * time.Hour).Unix()
	g.run(t, "busybox", "udhcpc", "-n", "-q", "-f", "-i", "eth0", "-s", script, "-t", "20", "-T", "1", "-x", "hostname:Web1", "-O", "mtu", "-O", "ntpsrv")
	text, err := os.ReadFile(h.dir + "/lease")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		got[key] = value
	}
	want := map[string]string{"router": "10.77.0.1", "dns": "9.9.9.9 1.1.1.1", "domain": "lab.local", "mtu": "1450", "ntpsrv": "10.77.0.1", "lease": "172800", "subnet": "255.255.255.0"}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
	}
	l := h.record.lasting(t, mac1, got["ip"], "web1")
	if after := time.Now().Add(48 * time.Hour).Unix(); l.Expiry < before || l.Expiry > after || l.ClientID != "*" {
		t.Errorf("on record is %+v, not an expiry of %d to %d", l, before, after)
	}
}

// TestLeaseSurvivesTheHostThatGaveIt: the gateway moves to another host, whose server
// must give the first guest its address and no other guest that one.
//
// decision: address leases
func TestLeaseSurvivesTheHostThatGaveIt(t *testing.T) {
	t.Parallel()
	r := newRecord()
	first, second := newHost(t, r), newHost(t, r)
	first.must(t, cable("link", "link", second.space), inBridge("link", "vmbr100"), isUp("link"))
	second.must(t, inBridge("link", "vmbr100"), isUp("link"))
	c := newClient4(t, newGuest(t, first, "vmbr100", "tap1", mac1))
	n := network4()
	n.IP4.Start, n.IP4.End = addr("10.77.0.10"), addr("10.77.0.11") // where a server without leases would give both guests the same

	first.must(t, hasAddr("vmbr100", gateway4))
	first.serve(t, n)
	a1 := c.obtain(t, hw(mac1), hostname("web1"))
	r.lasting(t, mac1, a1.String(), "web1")
	first.stop()
	first.must(t, lacksAddr("vmbr100", gateway4))

	second.must(t, hasAddr("vmbr100", gateway4))
	second.serve(t, n)
	a2 := c.obtain(t, hw(mac3), hostname("web1"))
	if a2 == a1 {
		t.Errorf("%s was given to two guests", a1)
	}
	r.lasting(t, mac3, a2.String(), "")
	if a := c.ask(t, dhcpRequest, hw(mac1), netip.Addr{}, option{optAddress, a1.AsSlice()}); a.kind != ack || a.address != a1 {
		t.Errorf("the first guest wanted %s again and got %+v", a1, a)
	}
	if a := c.obtain(t, hw(mac1)); a != a1 {
		t.Errorf("the first guest had %s and got %s", a1, a)
	}
	r.lasting(t, mac1, a1.String(), "web1")
}

func TestReservationCountsFromTheNextRequestWithoutRestart(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	n := network4()
	h.serve(t, n)
	pid := h.pid(100)
	g := newGuest(t, h, "vmbr100", "tap1", mac1)
	c := newClient4(t, g)
	dynamic := c.obtain(t, hw(mac1), hostname("web1"))
	h.record.lasting(t, mac1, dynamic.String(), "web1")

	// Its address is kept for another guest from now on: no renewal any more.
	g.must(t, hasAddr("eth0", dynamic.String()+"/24"))
	renew := func() answer4 { return c.ask(t, dhcpRequest, hw(mac1), dynamic) }
	if a := renew(); a.kind != ack {
		t.Fatalf("a renewal was answered %+v", a)
	}
	n.Reservations = []model.Reservation{{MAC: mac2, Address: dynamic, Hostname: "db"}, {MAC: mac3, Address: addr("10.77.0.200"), Hostname: "mail"}}
	h.serve(t, n)
	if a := renew(); a.kind != nak {
		t.Errorf("the renewal of an address reserved for another was answered %+v", a)
	}
	other := c.obtain(t, hw(mac1), hostname("web1"))
	if other == dynamic {
		t.Errorf("%s is reserved for another guest, and was given away", dynamic)
	}
	h.record.lasting(t, mac1, other.String(), "web1")
	if a := c.obtain(t, hw(mac2)); a != dynamic {
		t.Errorf("%s is reserved, %s was given", dynamic, a)
	}
	h.record.lasting(t, mac2, dynamic.String(), "db")
	if a := c.obtain(t, hw(mac3), hostname("db")); a != addr("10.77.0.200") {
		t.Errorf("10.77.0.200 is reserved, %s was given", a)
	}
	h.record.lasting(t, mac3, "10.77.0.200", "mail")

	// Without its reservation it gets an address of the range.
	n.Reservations = n.Reservations[:1]
	h.serve(t, n)
	if a := c.obtain(t, hw(mac3)); a == addr("10.77.0.200") {
		t.Errorf("%s is not reserved any more, and was given", a)
	}
	if now := h.pid(100); now != pid {
		t.Errorf("dnsmasq was %d and is %d", pid, now)
	}
}

func TestRenewalExtendsTheRecordAndReleaseEndsIt(t *testing.T) {
	t.Parallel()
	old := lease(mac1, "10.77.0.10", "web1")
	old.Expiry = time.Now().Add(time.Hour).Unix()
	expired := lease(mac2, "10.77.0.11", "web2")
	expired.Expiry = time.Now().Add(-time.Hour).Unix()
	h := newHost(t, newRecord(old, expired))
	h.must(t, hasAddr("vmbr100", gateway4))
	h.serve(t, network4())
	eventually(t, "an expired lease is not on record", func() bool { _, ok := h.record.snapshot()[mac2]; return !ok })
	g := newGuest(t, h, "vmbr100", "tap1", mac1)
	c := newClient4(t, g)
	g.must(t, hasAddr("eth0", "10.77.0.10/24"))
	if a := c.ask(t, dhcpRequest, hw(mac1), old.Address); a.kind != ack {
		t.Fatalf("a renewal was answered %+v", a)
	}
	eventually(t, "the expiry is two days away", func() bool {
		return h.record.snapshot()[mac1].Expiry > time.Now().Add(47*time.Hour).Unix()
	})
	if l := h.record.lasting(t, mac1, "10.77.0.10", "web1"); l.Hostname != "web1" {
		t.Errorf("the name is lost: %+v", l)
	}
	c.send(t, c.message(release, hw(mac1), old.Address, []option{{optServer, []byte{10, 77, 0, 1}}}))
	eventually(t, "a released lease is not on record", func() bool { return len(h.record.snapshot()) == 0 })
}

// TestBytesOfAGuestMakeNoLine sends what a guest can put into names and identifiers.
func TestBytesOfAGuestMakeNoLine(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	every := make([]byte, 255)
	for i := range every {
		every[i] = byte(i + 1)
	}
	names := []string{"a\nb", "a,ignore", "$(reboot)", "`id`", "a b", "-n", string(every[:120]), string(every[120:]), "a\x00b", strings.Repeat("a", 64), "wpad"}
	n := network4()
	for i := range names { // an address that is reserved is offered without a ping before
		n.Reservations = append(n.Reservations, model.Reservation{MAC: fmt.Sprintf("52:54:00:00:01:%02x", i), Address: netip.AddrFrom4([4]byte{10, 77, 0, byte(100 + i)})})
	}
	h.serve(t, n)
	c := newClient4(t, newGuest(t, h, "vmbr100", "tap1", mac1))
	for i, name := range names {
		mac := hw(n.Reservations[i].MAC)
		a := c.obtain(t, mac, hostname(name), option{optClientID, every[:200]}, option{60, every[:100]}, option{77, every[:100]}, option{81, append([]byte{0, 0, 0}, name...)[:min(len(name)+3, 100)]})
		want := ""
		if name == "a\x00b" {
			want = "a" // what dnsmasq sees of it
		}
		l := h.record.lasting(t, mac.String(), a.String(), want)
		if l.ClientID != "*" {
			t.Errorf("client identifier %q", l.ClientID)
		}
	}
	var want []Lease
	for _, l := range h.record.snapshot() {
		want = append(want, l)
	}
	text, err := database(want)
	if strings.Count(text, "\n") != len(names) || err != nil {
		t.Errorf("%v: %q", err, text)
	}
}

func TestServerThatDoesNotGetItsLeasesGivesNoAddress(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	h.record.setFail(errs.Unavailablef("no quorum"))
	problems := h.Apply(t.Context(), []Network{network4()})
	// 10 and the exit status of the hook: dnsmasq(8), EXIT CODES.
	if err := problems[100]; !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "exit status 11") {
		t.Fatalf("problems %v\n%s", problems, h.logs())
	}
	h.record.setFail(nil)
	eventually(t, "it runs", func() bool { return len(h.Apply(t.Context(), []Network{network4()})) == 0 })
	c := newClient4(t, newGuest(t, h, "vmbr100", "tap1", mac1))
	c.obtain(t, hw(mac1))
}

func TestLeaseGivenInAnOutageIsRecordedAfterIt(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	h.serve(t, network4())
	c := newClient4(t, newGuest(t, h, "vmbr100", "tap1", mac1))
	h.record.setFail(errs.Unavailablef("no quorum"))
	a := c.obtain(t, hw(mac1))
	<-h.record.moved // it was tried
	h.record.setFail(nil)
	h.record.lasting(t, mac1, a.String(), "")
}

func TestKilledServerIsThereAgain(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	h.serve(t, network4())
	pid := h.pid(100)
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another runs", func() bool { now := h.pid(100); return now != 0 && now != pid && !alive(pid) })
	c := newClient4(t, newGuest(t, h, "vmbr100", "tap1", mac1))
	c.obtain(t, hw(mac1))
}

func TestServerWaitsForItsGatewayAddress(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, func() error { return on("vmbr100", netlinkDown)() })
	problems := h.Apply(t.Context(), []Network{network4()})
	if problems[100] == nil {
		// It may have got its leases before it looked at the bridge.
		eventually(t, "the missing address is a problem", func() bool { return h.Apply(t.Context(), []Network{network4()})[100] != nil })
	}
	h.must(t, isUp("vmbr100"), hasAddr("vmbr100", gateway4))
	c := newClient4(t, newGuest(t, h, "vmbr100", "tap1", mac1))
	c.obtain(t, hw(mac1))
}

func TestServersOfOneHostDoNotMix(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4), bridge("vmbr200"), isUp("vmbr200"), hasAddr("vmbr200", "10.88.0.1/24"))
	other := Network{VNI: 200, Bridge: "vmbr200", IP4: model.NetworkIP4{
		Network: prefix("10.88.0.0/24"), Gateway: addr("10.88.0.1"), DHCP: true, Start: addr("10.88.0.10"), End: addr("10.88.0.99"),
	}}
	h.serve(t, network4(), other)
	c1 := newClient4(t, newGuest(t, h, "vmbr100", "tap1", mac1))
	c2 := newClient4(t, newGuest(t, h, "vmbr200", "tap2", mac2))
	if a := c1.obtain(t, hw(mac1)); !prefix("10.77.0.0/24").Contains(a) {
		t.Errorf("the guest of network 100 got %s", a)
	}
	if a := c2.obtain(t, hw(mac2)); !prefix("10.88.0.0/24").Contains(a) {
		t.Errorf("the guest of network 200 got %s", a)
	}

	// A change of one leaves the other alone; so does its end.
	pid, pid2 := h.pid(100), h.pid(200)
	other.Domain = "other.local"
	h.serve(t, network4(), other)
	if h.pid(100) != pid || h.pid(200) == pid2 || h.pid(200) == 0 {
		t.Errorf("were %d, %d and are %d, %d", pid, pid2, h.pid(100), h.pid(200))
	}
	h.serve(t, network4())
	if h.pid(100) != pid || h.pid(200) != 0 {
		t.Errorf("were %d and are %d, %d", pid, h.pid(100), h.pid(200))
	}
}

func TestWrongValuesLeaveTheFormerOnesInForce(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	h.serve(t, network4())
	pid := h.pid(100)
	bad := network4()
	bad.Domain = "a\nport=53"
	good := network4()
	good.VNI, good.Bridge = 101, "vmbr100"
	good.IP4.DHCP = false // needs no server
	problems := h.Apply(t.Context(), []Network{bad, good, good})
	if len(problems) != 1 || !errs.Is(problems[100], errs.Invalid) {
		t.Errorf("problems %v", problems)
	}
	if now := h.pid(100); now != pid {
		t.Errorf("dnsmasq was %d and is %d", pid, now)
	}
	again := h.Apply(t.Context(), []Network{network4(), network4()})
	if !errs.Is(again[100], errs.Conflict) {
		t.Errorf("problems %v", again)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	h.serve(t, network4())
	pid := h.pid(100)
	if err := h.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if alive(pid) || h.pid(100) != 0 {
		t.Error("dnsmasq is still there")
	}
	left, err := filepath.Glob(h.dir + "/run/*")
	if d := cmp.Diff([]string{h.dir + "/run/" + HookName}, left); d != "" || err != nil {
		t.Errorf("%v, files: %s", err, d)
	}
	h.serve(t, network4()) // it can be primary again
	pid = h.pid(100)
	h.stop()
	if alive(pid) {
		t.Error("dnsmasq has outlived Run")
	}
	if problems := h.Apply(t.Context(), []Network{network4()}); !errs.Is(problems[0], errs.Unavailable) {
		t.Errorf("problems %v", problems)
	}
}

func TestNoServerIsStartedWhileHeld(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	h.stop()
	o := options(h.dir, h.record)
	held := make(chan bool, 1)
	held <- true
	o.Hold = func() bool { b := <-held; held <- b; return b }
	h.begin(t, o)
	if problems := h.Apply(t.Context(), []Network{network4()}); problems[100] == nil || h.pid(100) != 0 {
		t.Errorf("problems %v, process %d", problems, h.pid(100))
	}
	<-held
	held <- false
	eventually(t, "it runs", func() bool { return h.pid(100) != 0 })
}

func TestFilesAreForNobodyElse(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	h.serve(t, network4())
	for _, name := range []string{"run/100.conf", "run/100.hosts", "hook.sock"} {
		st, err := os.Stat(filepath.Join(h.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, st.Mode())
		}
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", h.pid(100)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("/usr/sbin/dnsmasq\x00--conf-file="+h.dir+"/run/100.conf\x00", string(line)); d != "" {
		t.Errorf("the command line: %s", d)
	}
}

func TestPathThatAShellWouldReadIsRefused(t *testing.T) {
	for _, path := range []string{"", "run", "/run/a b", "/run/$(x)", "/run/a;b", "/run/a\nb", "/run/a,b"} {
		o := options("/run", nil)
		o.Dir = path
		if _, err := New(o); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", path, err)
		}
	}
	o := options("/run", nil)
	o.User = "no such user"
	if _, err := New(o); !errs.Is(err, errs.Unavailable) {
		t.Errorf("error %v", err)
	}
}
