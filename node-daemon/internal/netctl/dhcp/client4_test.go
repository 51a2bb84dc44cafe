package dhcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Message types and options of DHCPv4 (RFC 2132).
const (
	discover, offer, dhcpRequest, ack, nak, release = 1, 2, 3, 5, 6, 7

	optHostname, optAddress, optType, optServer, optClientID = 12, 50, 53, 54, 61
)

// client4 sends DHCP messages of any machine from a guest's interface.
type client4 struct {
	conn *net.UDPConn
	xid  uint32
}

// answer4 is what a server says.
type answer4 struct {
	kind    byte
	address netip.Addr
	server  []byte
}

type option struct {
	code byte
	data []byte
}

func newClient4(t testing.TB, g *guest) *client4 {
	t.Helper()
	c := &client4{}
	g.must(t, func() error {
		config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			inner := raw.Control(func(fd uintptr) {
				err = errors.Join(unix.BindToDevice(int(fd), "eth0"), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
			})
			return errors.Join(inner, err)
		}}
		conn, err := config.ListenPacket(context.Background(), "udp4", "0.0.0.0:68")
		if err == nil {
			c.conn = conn.(*net.UDPConn)
		}
		return err
	})
	t.Cleanup(func() { c.conn.Close() })
	return c
}

// ask sends a message, again each second, until there is an answer.
func (c *client4) ask(t testing.TB, kind byte, mac net.HardwareAddr, own netip.Addr, options ...option) answer4 {
	t.Helper()
	c.xid++
	message := c.message(kind, mac, own, options)
	end := time.Now().Add(patience)
	for time.Now().Before(end) {
		c.send(t, message)
		if a, ok := c.hear(t); ok {
			return a
		}
	}
	t.Fatalf("no answer to message %d of %s", kind, mac)
	return answer4{}
}

func (c *client4) message(kind byte, mac net.HardwareAddr, own netip.Addr, options []option) []byte {
	m := make([]byte, 236, 576)
	m[0], m[1], m[2] = 1, 1, 6
	binary.BigEndian.PutUint32(m[4:], c.xid)
	m[10] = 0x80 // answer by broadcast
	if own.IsValid() {
		copy(m[12:], own.AsSlice())
	}
	copy(m[28:], mac)
	m = append(m, 99, 130, 83, 99, optType, 1, kind)
	for _, o := range options {
		m = append(append(m, o.code, byte(len(o.data))), o.data...)
	}
	m = append(m, 255)
	return append(m, make([]byte, max(0, 300-len(m)))...)
}

func (c *client4) send(t testing.TB, message []byte) {
	t.Helper()
	if _, err := c.conn.WriteTo(message, &net.UDPAddr{IP: net.IPv4bcast, Port: 67}); err != nil {
		t.Fatal(err)
	}
}

// hear waits a second for the answer to the last message.
func (c *client4) hear(t testing.TB) (a answer4, ok bool) {
	t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	for {
		n, err := c.conn.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return a, false
		}
		if err != nil {
			t.Fatal(err)
		}
		if n > 240 && binary.BigEndian.Uint32(b[4:]) == c.xid && b[0] == 2 {
			return parse4(b[:n]), true
		}
	}
}

func parse4(b []byte) (a answer4) {
	a.address = netip.AddrFrom4([4]byte(b[16:20]))
	for o := b[240:]; len(o) > 1 && o[0] != 255; o = o[2+int(o[1]):] {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		switch data := o[2:][:o[1]]; o[0] {
		case optType:
			a.kind = data[0]
		case optServer:
			a.server = bytes.Clone(data)
		}
	}
	return a
}

// obtain gets an address as a machine that has just started.
func (c *client4) obtain(t testing.TB, mac net.HardwareAddr, options ...option) netip.Addr {
	t.Helper()
	o := c.ask(t, discover, mac, netip.Addr{}, options...)
	if o.kind != offer {
		t.Fatalf("%s was answered %+v", mac, o)
	}
	a := c.ask(t, dhcpRequest, mac, netip.Addr{}, append(options, option{optServer, o.server}, option{optAddress, o.address.AsSlice()})...)
	if a.kind != ack || a.address != o.address {
		t.Fatalf("%s was offered %s and got %+v", mac, o.address, a)
	}
	return a.address
}

func hostname(s string) option { return option{optHostname, []byte(s)} }
func hw(s string) net.HardwareAddr {
	mac, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return mac
}
