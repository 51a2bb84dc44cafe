package dhcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Message types and options of DHCPv6 (RFC 8415, RFC 4704).
const (
	solicit, advertise6, request6, renew6, reply6 = 1, 2, 3, 5, 7

	opt6Client, opt6Server, opt6IANA, opt6Address, opt6FQDN = 1, 2, 3, 5, 39
)

type client6 struct {
	conn *net.UDPConn
	duid []byte
	xid  uint32
}

type answer6 struct {
	kind    byte
	server  []byte
	address netip.Addr
}

func newClient6(t testing.TB, g *guest) *client6 {
	t.Helper()
	c := &client6{duid: append([]byte{0, 3, 0, 1}, g.mac...)}
	g.must(t, func() error {
		var err error
		c.conn, err = net.ListenUDP("udp6", &net.UDPAddr{Port: 546})
		return err
	})
	t.Cleanup(func() { c.conn.Close() })
	return c
}

func tlv(code int, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(code))
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// ask sends a message, again each second, until there is an answer.
func (c *client6) ask(t testing.TB, g *guest, kind byte, server []byte, own netip.Addr, name string) answer6 {
	t.Helper()
	c.xid++
	iana := []byte{0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0}
	if own.IsValid() {
		iana = append(iana, tlv(opt6Address, append(own.AsSlice(), make([]byte, 8)...))...)
	}
	m := append([]byte{kind, 0, 0, byte(c.xid)}, tlv(opt6Client, c.duid)...)
	m = append(m, tlv(opt6IANA, iana)...)
	if server != nil {
		m = append(m, tlv(opt6Server, server)...)
	}
	if name != "" {
		m = append(m, tlv(opt6FQDN, append([]byte{0, byte(len(name))}, name...))...)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		g.must(t, func() error {
			_, err := c.conn.WriteTo(m, &net.UDPAddr{IP: net.ParseIP("ff02::1:2"), Port: 547, Zone: "eth0"})
			return err
		})
		if a, ok := c.hear(t); ok {
			return a
		}
	}
	t.Fatalf("no answer to message %d", kind)
	return answer6{}
}

func (c *client6) hear(t testing.TB) (answer6, bool) {
	t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	for {
		n, err := c.conn.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return answer6{}, false
		}
		if err != nil {
			t.Fatal(err)
		}
		if n > 4 && b[3] == byte(c.xid) {
			return parse6(b[:n]), true
		}
	}
}

func parse6(b []byte) answer6 {
	a := answer6{kind: b[0]}
	each6(b[4:], func(code int, data []byte) {
		switch code {
		case opt6Server:
			a.server = bytes.Clone(data)
		case opt6IANA:
			each6(data[12:], func(code int, data []byte) {
				if code == opt6Address {
					a.address = netip.AddrFrom16([16]byte(data[:16]))
				}
			})
		}
	})
	return a
}

func each6(b []byte, f func(code int, data []byte)) {
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint16(b[2:]))
		f(int(binary.BigEndian.Uint16(b)), b[4:4+n])
		b = b[4+n:]
	}
}

func (c *client6) obtain(t testing.TB, g *guest, name string) answer6 {
	t.Helper()
	o := c.ask(t, g, solicit, nil, netip.Addr{}, name)
	if o.kind != advertise6 || !o.address.IsValid() {
		t.Fatalf("was offered %+v", o)
	}
	a := c.ask(t, g, request6, o.server, o.address, name)
	if a.kind != reply6 || a.address != o.address {
		t.Fatalf("was offered %s and got %+v", o.address, a)
	}
	return a
}

const gateway6 = "fd00:77::1/64"

func network6() Network {
	return Network{VNI: 100, Bridge: "vmbr100", Domain: "lab.local", MTU: 1450, IP6: six("fd00:77::/64")}
}

// TestIPv6LeaseAndServerSurviveTheHost: the successor calls itself as the first did, so
// that the guest can renew, and knows what is in use.
func TestIPv6LeaseAndServerSurviveTheHost(t *testing.T) {
	t.Parallel()
	r := newRecord()
	first, second := newHost(t, r), newHost(t, r)
	first.must(t, cable("link", "link", second.space), inBridge("link", "vmbr100"), isUp("link"))
	second.must(t, inBridge("link", "vmbr100"), isUp("link"))
	g1, g2 := newGuest(t, first, "vmbr100", "tap1", mac1), newGuest(t, first, "vmbr100", "tap2", mac2)
	c1, c2 := newClient6(t, g1), newClient6(t, g2)
	n := network6()
	n.IP6 = six("fd00:77::/126") // two addresses, so that chance cannot help

	first.must(t, hasAddr("vmbr100", "fd00:77::1/126"))
	first.serve(t, n)
	a1 := c1.obtain(t, g1, "web1")
	l := r.lasting(t, a1.address.String(), a1.address.String(), "web1")
	if l.DUID != "00:03:00:01:"+mac1 || l.IAID != "7" || l.MAC != "" || l.Expiry < time.Now().Add(23*time.Hour).Unix() {
		t.Errorf("on record is %+v", l)
	}
	first.stop()
	first.must(t, lacksAddr("vmbr100", "fd00:77::1/126"))

	second.must(t, hasAddr("vmbr100", "fd00:77::1/126"))
	second.serve(t, n)
	if a := c1.ask(t, g1, renew6, a1.server, a1.address, "web1"); a.kind != reply6 || a.address != a1.address || !bytes.Equal(a.server, a1.server) {
		t.Errorf("had %+v, and a renewal was answered %+v", a1, a)
	}
	a2 := c2.obtain(t, g2, "web1")
	if a2.address == a1.address {
		t.Errorf("%s was given to two guests", a1.address)
	}
	r.lasting(t, a2.address.String(), a2.address.String(), "")
	r.lasting(t, a1.address.String(), a1.address.String(), "web1")
}

// learned is what a guest's kernel has from router advertisements: its addresses of the
// network and the gateway's MTU, 0 without a default route.
func learned(t testing.TB, g *guest) (addresses []string, mtu int) {
	t.Helper()
	g.must(t, on("eth0", func(l netlink.Link) error {
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if a.Scope == int(netlink.SCOPE_UNIVERSE) {
				addresses = append(addresses, a.IP.String())
			}
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{LinkIndex: l.Attrs().Index, Protocol: unix.RTPROT_RA}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_OIF)
		for _, route := range routes {
			if route.Gw != nil {
				text, err := os.ReadFile("/proc/sys/net/ipv6/conf/eth0/mtu")
				if err != nil {
					return err
				}
				if mtu, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
					return err
				}
			}
		}
		return err
	}))
	return addresses, mtu
}

// decision: IPv6 of guests
func TestGuestOfBothFamiliesMakesItsIPv6Address(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4), hasAddr("vmbr100", gateway6))
	n := network6()
	n.IP4 = four()
	h.serve(t, n)
	g := newGuest(t, h, "vmbr100", "tap1", mac1)
	eventually(t, "the guest has an address of SLAAC, a gateway and the MTU", func() bool {
		addresses, mtu := learned(t, g)
		return len(addresses) == 1 && addresses[0] == "fd00:77::5054:ff:fe00:1" && mtu == 1450
	})
	c := newClient4(t, g)
	c.obtain(t, hw(mac1))
}

func TestGuestOfIPv6AloneIsToldToAsk(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway6))
	n := network6()
	n.Reservations = []model.Reservation{{MAC: mac1, Address: addr("10.77.0.5"), Hostname: "db"}} // of no concern
	h.serve(t, n)
	g := newGuest(t, h, "vmbr100", "tap1", mac1)
	eventually(t, "the guest has a gateway", func() bool { _, mtu := learned(t, g); return mtu == 1450 })
	if addresses, _ := learned(t, g); len(addresses) != 0 {
		t.Errorf("it made itself %v", addresses)
	}
	c := newClient6(t, g)
	a := c.obtain(t, g, "web1")
	if !n.IP6.Network.Contains(a.address) || a.address == n.IP6.Gateway {
		t.Errorf("got %s", a.address)
	}
	h.record.lasting(t, a.address.String(), a.address.String(), "web1")
}
