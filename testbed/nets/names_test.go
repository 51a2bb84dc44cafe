package nets

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netns"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// nameServer is one outside of the cluster: other names are forwarded to it, and it is a
// secondary of the cluster's zones.
type nameServer struct{ notified chan string }

func serveNames(t *testing.T) *nameServer {
	t.Helper()
	n := &nameServer{make(chan string, 100)}
	packets, err := net.ListenPacket("udp", netip.AddrPortFrom(netip.MustParseAddr(outside), 53).String())
	must(t, err)
	started := make(chan struct{})
	server := &dns.Server{PacketConn: packets, Handler: n, NotifyStartedFunc: func() { close(started) }}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		must(t, server.Shutdown())
		must(t, <-done)
	})
	return n
}

func (n *nameServer) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg).SetReply(r)
	switch {
	case r.Opcode == dns.OpcodeNotify:
		select {
		case n.notified <- r.Question[0].Name:
		default: // nobody waits for so many
		}
	case r.Question[0].Name == "www.outside.example." && r.Question[0].Qtype == dns.TypeA:
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(203, 0, 113, 77)}}
	}
	_ = w.WriteMsg(m) // whoever does not get it asks again
}

// zone is what the primary transfers to somebody; from nil is this machine.
func zone(t *testing.T, name string, from *host.Host) (records []string, err error) {
	t.Helper()
	conn, err := dial(t, from, "10.97.0.250:53")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	transfer := dns.Transfer{Conn: &dns.Conn{Conn: conn}}
	envelopes, err := transfer.In(new(dns.Msg).SetAxfr(name), "")
	if err != nil {
		return nil, err
	}
	for e := range envelopes {
		err = errors.Join(err, e.Error)
		for _, rr := range e.RR {
			records = append(records, strings.Join(strings.Fields(rr.String()), " "))
		}
	}
	return records, err
}

// dial connects as somebody on a host does.
func dial(t *testing.T, from *host.Host, address string) (net.Conn, error) {
	t.Helper()
	if from == nil {
		return net.DialTimeout("tcp", address, 2*time.Second)
	}
	pid, err := from.PID(t.Context(), testbed.Libvirtd)
	must(t, err)
	runtime.LockOSThread()
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	there, err := netns.GetFromPid(pid)
	must(t, err)
	defer there.Close()
	must(t, netns.Set(there))
	a, err := net.ResolveTCPAddr("tcp", address)
	must(t, err)
	conn, err := net.DialTCP("tcp", nil, a) // on this thread, unlike one with a deadline
	must(t, netns.Set(here))
	runtime.UnlockOSThread()
	return conn, err
}

func TestNamesReachTheWorldAndTheWorldReachesNames(t *testing.T) {
	server := serveNames(t)
	m := connected(t, "140", "names", "140")
	tries := func(when string) {
		within(t, deadline, "a name of the world "+when, func() error {
			out, _ := m.Run(t, "nslookup www.outside.example")
			return wrongIf(!strings.Contains(out, "203.0.113.77"), out)
		})
		want := "mail.names.test."
		within(t, deadline, "the zone is transferred "+when, func() error {
			records, err := zone(t, "names.test.", nil)
			if err != nil {
				return err
			}
			found := strings.Join(records, "\n")
			return wrongIf(!strings.Contains(found, want) || !strings.Contains(found, "10.140.0.20"), found)
		})
		within(t, deadline, "the reverse zone is transferred "+when, func() error {
			records, err := zone(t, "0.140.10.in-addr.arpa.", nil)
			if err != nil {
				return err
			}
			return wrongIf(!strings.Contains(strings.Join(records, "\n"), want), fmt.Sprint(records))
		})
	}
	do(t, http.MethodPost, "/network/names/lease", "macaddress", "52:54:00:00:8c:14", "ipaddress", "10.140.0.20", "hostname", "mail")
	within(t, deadline, "the secondary is told", func() error {
		select {
		case name := <-server.notified:
			return wrongIf(name != "names.test.", name)
		case <-time.After(time.Second):
			return errors.New("nothing came")
		}
	})
	tries("at first")
	if records, err := zone(t, "names.test.", secondary(t)); err == nil {
		t.Errorf("a zone is given to anybody: %v", records)
	}
	do(t, http.MethodPost, "/node/"+secondary(t).Name+"/coordinator-state", "coordinator-state", "primary", "wait", "True")
	tries("from the next primary")
	t.Run("the next primary gives out no address that is in use", func(t *testing.T) {
		next := start(t, "nnnames2", "vmbr140", secondary(t), "", "")
		if next.Address(t) == m.Address(t) {
			t.Errorf("two guests have %s", m.Address(t))
		}
		next.Reaches(t, m.Address(t))
		if shown := do(t, http.MethodGet, "/network/names/lease"); !strings.Contains(shown, `"`+m.Address(t)+`"`) || !strings.Contains(shown, `"`+next.Address(t)+`"`) {
			t.Errorf("%s and %s have leases, the API shows %s", m.Address(t), next.Address(t), shown)
		}
	})

	do(t, http.MethodDelete, "/network/names/lease/52:54:00:00:8c:14")
	within(t, deadline, "the name is gone", func() error {
		out, _ := m.Run(t, "nslookup mail.names.test")
		return wrongIf(strings.Contains(out, "10.140.0.20"), out)
	})
}
