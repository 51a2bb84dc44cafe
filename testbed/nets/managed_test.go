package nets

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// lease is what the API shows of a lease.
type lease struct {
	Hostname  string `json:"hostname"`
	Address   string `json:"ip4_address"`
	MAC       string `json:"mac_address"`
	Timestamp string `json:"timestamp"`
}

const webMAC = "52:54:00:00:64:0a"

func TestGuestsOfAManagedNetworkHaveAddressesNamesAndAGateway(t *testing.T) {
	network(t, "100", "office", "domain", "office.test", "ip4_network", "10.100.0.0/24", "ip4_gateway", "10.100.0.1",
		"dhcp4", "True", "dhcp4_start", "10.100.0.100", "dhcp4_end", "10.100.0.199",
		"ip6_network", "fd00:100::/64", "ip6_gateway", "fd00:100::1")
	do(t, http.MethodPost, "/network/office/lease", "macaddress", webMAC, "ipaddress", "10.100.0.10", "hostname", "web")
	p := primary(t)
	web := start(t, "nnweb", "vmbr100", p, webMAC, "")
	db := start(t, "nndb", "vmbr100", secondary(t), "", "")

	if got := web.Address(t); got != "10.100.0.10" {
		t.Errorf("the reservation is not heeded: %s", got)
	}
	dbAddress := db.Address(t)
	if !strings.HasPrefix(dbAddress, "10.100.0.1") || len(dbAddress) != len("10.100.0.100") {
		t.Errorf("%s is not of the range", dbAddress)
	}
	t.Run("addresses", func(t *testing.T) {
		db.Reaches(t, "10.100.0.10")
		db.Reaches(t, "10.100.0.1")
		web.Reaches(t, dbAddress)
		web.Reaches(t, "fd00:100::1")
	})
	t.Run("leases", func(t *testing.T) {
		within(t, deadline, "the lease is shown", func() error {
			for _, l := range list[lease](t, "/network/office/lease") {
				if l.Address == dbAddress && l.Hostname == "nndb" {
					return nil
				}
			}
			return fmt.Errorf("%s", do(t, http.MethodGet, "/network/office/lease"))
		})
	})
	t.Run("names", func(t *testing.T) {
		within(t, deadline, "names are answered", func() error {
			for name, address := range map[string]string{"nndb.office.test": dbAddress, "web.office.test": "10.100.0.10"} {
				if out, _ := web.Run(t, "nslookup "+name); !strings.Contains(out, address) {
					return errors.New(out)
				}
			}
			if out, _ := db.Run(t, "nslookup 10.100.0.10"); !strings.Contains(out, "web.office.test") {
				return errors.New(out)
			}
			return nil
		})
	})
	t.Run("in use", func(t *testing.T) {
		if status, body := ask(t, http.MethodDelete, "/network/100"); status != 510 || !strings.Contains(body, "nnweb") {
			t.Errorf("%d %s", status, body)
		}
	})
	t.Run("IPv6 between guests", func(t *testing.T) {
		re, address := regexp.MustCompile(`inet6 (fd00:100:[0-9a-f:]+)/`), ""
		within(t, deadline, "the guest has an address of the network", func() error {
			out, _ := db.Run(t, "ip -6 -o addr show dev eth0 scope global")
			if found := re.FindStringSubmatch(out); found != nil {
				address = found[1]
				return nil
			}
			return errors.New(out)
		})
		web.Reaches(t, address)
	})
	t.Run("other hosts hold nothing of the primary", func(t *testing.T) {
		for _, h := range cluster.Hosts() {
			if h != p {
				holdsNothing(t, h)
			}
		}
	})
	t.Run("migration with a running ping", func(t *testing.T) {
		pings := web.Pings(t, dbAddress)
		do(t, http.MethodPost, "/vm/nndb/node", "action", "migrate", "wait", "True")
		db.Reaches(t, "10.100.0.10")
		db.Reaches(t, "10.100.0.1")
		sent, gap := pings.End(t)
		t.Logf("%d pings, at most %v without an answer", sent, gap)
		if gap > 5*time.Second { // the guest itself stands still for a part of it
			t.Errorf("%v without an answer", gap)
		}
	})
}
