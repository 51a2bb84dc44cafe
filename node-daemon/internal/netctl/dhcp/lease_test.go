package dhcp

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	duid1   = "00:01:00:01:2f:00:00:01:52:54:00:00:00:01"
	server1 = "00:01:00:01:2f:00:00:09:52:54:00:00:00:99"
)

func lease(mac, address, name string) Lease {
	return Lease{MAC: mac, Address: addr(address), Hostname: name, ClientID: "*", Expiry: 2000}
}

func lease6of(duid, address, name string) Lease {
	return Lease{DUID: duid, IAID: "7", Address: addr(address), Hostname: name, Expiry: 2000, ServerDUID: server1}
}

func TestDatabaseIsALeaseFile(t *testing.T) {
	forever := lease(mac3, "10.77.0.3", "")
	forever.Expiry = 0
	forever.ClientID = "01:52:54:00:00:00:03"
	temporary := lease6of(duid1, "fd00::6", "x")
	temporary.IAID = "T7"
	bad := lease(mac1, "10.77.0.4", "")
	bad.MAC = "52:54:00:00:00:01 10.9.9.9 x *\n9"
	got, err := database([]Lease{lease(mac1, "10.77.0.2", "web1"), forever, temporary, bad})
	want := "0 " + mac3 + " 10.77.0.3 * 01:52:54:00:00:00:03\n" +
		"2000 " + mac1 + " 10.77.0.2 * *\n2000 T7 fd00::6 * " + duid1 + "\nduid " + server1 + "\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if err == nil || !strings.Contains(err.Error(), "10.77.0.4") {
		t.Errorf("what is left out is not named: %v", err)
	}
	if got, err := database(nil); got != "" || err != nil {
		t.Errorf("no leases: %q, %v", got, err)
	}
}

func TestDatabaseKeepsWhatEndsLastAndNoAddressTwice(t *testing.T) {
	var leases []Lease
	for i := range maxLeases + 2 {
		l := lease(fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&0xff), fmt.Sprintf("10.77.%d.%d", i>>8, i&0xff), "")
		l.Expiry = int64(i) // the first one never ends
		leases = append(leases, l)
	}
	again := leases[7]
	again.MAC, again.Expiry = "52:54:00:ff:ff:ff", 9000
	got, err := database(append(leases, again))
	if n := strings.Count(got, "\n"); n != maxLeases || err == nil {
		t.Errorf("%d lines, error %v", n, err)
	}
	for text, want := range map[string]bool{" 10.77.0.0 ": true, " 10.77.0.1 ": false, " 10.77.0.2 ": false, " 10.77.0.3 ": true, "9000 52:54:00:ff:ff:ff 10.77.0.7 ": true, "\n7 ": false} {
		if strings.Contains(got, text) != want {
			t.Errorf("%q is there: %v", text, !want)
		}
	}
}

var databaseLine = regexp.MustCompile(`^([0-9]+ [0-9a-f]{2}(:[0-9a-f]{2}){5} [0-9.]+ \* (\*|[0-9a-f:]+)|[0-9]+ T?[0-9]+ [0-9a-f:.]+ \* [0-9a-f:]+|duid [0-9a-f:]+)\n$`)

// FuzzChangeBecomesOneLineOrAnError goes the way of a guest's bytes: the arguments and
// variables of a hook, the book, the file.
func FuzzChangeBecomesOneLineOrAnError(f *testing.F) {
	f.Add("add", mac1, "10.77.0.2", "2000", "01:52:54:00:00:00:01", "web1", "", "", mac1)
	f.Add("old", duid1, "fd00::2", "2000", "", "web1.lab.local", "T7", server1, mac1)
	f.Add("add", mac1, "10.77.0.2", "2000 x\n", "ff\nduid 00", "a\nb,ignore", "7 8", "00:zz", "*")
	f.Add("add", "06-01:23:45:67:89:ab", "10.77.0.2", "-1", "\xff\x00", "\xff", "99999999999", "", "")
	f.Fuzz(func(t *testing.T, action, id, address, expires, client, name, iaid, server, mac string) {
		env := map[string]string{envExpires: expires, envClientID: client, envHostname: name, envIAID: iaid, envServerDUID: server, envMAC: mac}
		e, err := parseEvent([]string{action, id, address}, env)
		if err != nil {
			return
		}
		b := newBook(100, nil)
		b.loaded = true
		b.setNaming(newNaming("lab.local", nil))
		if _, err := b.apply(e); err != nil {
			t.Fatal(err)
		}
		l, ok := b.leases[e.lease.key()]
		if !ok {
			if action != actionDel {
				t.Fatal("the lease is not in the book")
			}
			return
		}
		if l.Hostname != "" && !regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`).MatchString(l.Hostname) {
			t.Errorf("host name %q", l.Hostname)
		}
		text, err := database([]Lease{l})
		if err != nil {
			t.Fatalf("a lease that was taken cannot be written: %v", err)
		}
		lines := 0
		for line := range strings.Lines(text) {
			if lines++; !databaseLine.MatchString(line) {
				t.Errorf("line %q", line)
			}
		}
		want := 1
		if l.ServerDUID != "" {
			want = 2
		}
		if lines != want {
			t.Errorf("%d lines: %q", lines, text)
		}
		if l.Address != netip.MustParseAddr(address) {
			t.Errorf("address %s of %q", l.Address, address)
		}
	})
}
