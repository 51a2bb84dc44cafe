package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/parallelvirtualcluster/pvc/testbed/internal/proc"
)

// Switch is the network between hosts: a bridge in a namespace of its own, with
// a leg in the namespace of the machine. The trunk is a second bridge, br1, for hosts
// with a second cable: it carries frames with tags, and nobody else is there.
type Switch struct {
	Name   string       // at most 10 characters: names of interfaces derive from it
	Subnet netip.Prefix // an IPv4 /24; the leg has its address 254
	Dir    string       // folder of the switch's files
	Linger bool         // outlive the process that started it
	Trunk  bool         // has one
	// Lock is held open by the switch for as long as it lives; may be nil.
	Lock *os.File
}

// PowerOn starts the switch. It fails with os.ErrExist if it is up, and if an
// interface of the machine has an address in its subnet.
func (s *Switch) PowerOn(ctx context.Context) error {
	if s.Up() {
		return fmt.Errorf("power on switch %s: %w", s.Name, os.ErrExist)
	}
	s.removeLeg(ctx) // of a switch that is just dying
	if err := s.subnetIsFree(); err != nil {
		return fmt.Errorf("power on switch %s: %w", s.Name, err)
	}
	var files []*os.File
	if s.Lock != nil {
		files = append(files, s.Lock)
	}
	i := &initProcess{dir: s.Dir, linger: s.Linger, namespaces: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		spec: initSpec{Name: s.Name}, inherit: files}
	if err := i.start(ctx, s.wire); err != nil {
		return fmt.Errorf("power on switch %s: %w", s.Name, err)
	}
	return nil
}

// wire makes the bridge and the leg, as soon as the namespace is there.
func (s *Switch) wire(ctx context.Context, pid int) error {
	leg, port := s.leg(), "leg"
	if _, err := run(ctx, "", "ip", "link", "add", leg, "type", "veth", "peer", "name", port, "netns", strconv.Itoa(pid)); err != nil {
		return err
	}
	batch := "link set lo up\n" +
		"link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n" +
		"link set " + port + " master br0 up\n" +
		"link set br0 up\n"
	if s.Trunk {
		batch += "link add br1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br1 up\n"
	}
	if _, err := run(ctx, batch, inNetwork(pid, "ip", "-batch", "-")...); err != nil {
		return err
	}
	batch = fmt.Sprintf("addr add %s/%d dev %s\nlink set %s up\n", s.Leg(), s.Subnet.Bits(), leg, leg)
	_, err := run(ctx, batch, "ip", "-batch", "-")
	return err
}

// PowerOff kills the switch. All cables go with it.
func (s *Switch) PowerOff(ctx context.Context) error {
	if err := killInit(s.Dir); err != nil {
		return fmt.Errorf("power off switch %s: %w", s.Name, err)
	}
	s.removeLeg(ctx)
	return nil
}

// removeLeg removes the machine's leg. The kernel does it too when the switch's
// namespace goes, but takes its time; that there is none is the usual case.
func (s *Switch) removeLeg(ctx context.Context) { _, _ = run(ctx, "", "ip", "link", "del", s.leg()) }

func (s *Switch) leg() string { return s.Name + "-leg" }

// Up reports whether the switch runs.
func (s *Switch) Up() bool { return loadIdentity(s.Dir).Alive() }

// Leg is the address that the machine itself has on the switch.
func (s *Switch) Leg() netip.Addr { return addrAt(s.Subnet, 254) }

// Addr is the address of host number i (1…).
func (s *Switch) Addr(i int) netip.Addr { return addrAt(s.Subnet, byte(10+i)) }

// CutBetween drops every frame between hosts a and b, in both directions and
// without telling either. Both keep their connection to everybody else.
func (s *Switch) CutBetween(ctx context.Context, a, b *Host) error {
	_, err := s.nft(ctx, fmt.Sprintf(`table bridge %[1]s {
	chain forward {
		type filter hook forward priority 0
		iifname %[2]q oifname %[3]q drop
		iifname %[3]q oifname %[2]q drop
	}
}
`, cutTable(a, b), a.port(), b.port()))
	return err
}

// HealBetween undoes CutBetween.
func (s *Switch) HealBetween(ctx context.Context, a, b *Host) error {
	_, err := s.nft(ctx, "delete table bridge "+cutTable(a, b)+"\n")
	return err
}

// cutTable names the nftables table of a pair, whatever their order.
func cutTable(a, b *Host) string {
	return fmt.Sprintf("cut_%d_%d", min(a.Index, b.Index), max(a.Index, b.Index))
}

func (s *Switch) nft(ctx context.Context, script string) (string, error) {
	pid, err := s.pid()
	if err != nil {
		return "", err
	}
	return run(ctx, script, inNetwork(pid, "nft", "-f", "-")...)
}

func (s *Switch) ip(ctx context.Context, args ...string) error {
	pid, err := s.pid()
	if err != nil {
		return err
	}
	_, err = run(ctx, "", inNetwork(pid, append([]string{"ip"}, args...)...)...)
	return err
}

// PID is the process that holds the namespace of the switch.
func (s *Switch) PID() (int, error) { return s.pid() }

func (s *Switch) pid() (int, error) {
	id := loadIdentity(s.Dir)
	if !id.Alive() {
		return 0, fmt.Errorf("switch %s is off", s.Name)
	}
	return id.PID, nil
}

func (s *Switch) subnetIsFree() error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Overlaps(s.Subnet) {
			return fmt.Errorf("an interface of this machine has the address %s, the subnet %s is taken", p, s.Subnet)
		}
	}
	return nil
}

// inNetwork is an argument vector that runs argv in the network of process pid.
func inNetwork(pid int, argv ...string) []string {
	return append([]string{"nsenter", "-t", strconv.Itoa(pid), "-n", "--"}, argv...)
}

func addrAt(subnet netip.Prefix, last byte) netip.Addr {
	b := subnet.Masked().Addr().As4()
	b[3] = last
	return netip.AddrFrom4(b)
}

// MissingTools names the programs that the package needs and does not find.
func MissingTools() []string {
	var missing []string
	for _, tool := range []string{"ip", "nsenter", "nft"} {
		if _, err := exec.LookPath(tool); errors.Is(err, exec.ErrNotFound) {
			missing = append(missing, tool)
		}
	}
	return missing
}

// identityFile is where the identity of an init is kept.
func identityFile(dir string) string { return filepath.Join(dir, "init.id") }

func loadIdentity(dir string) proc.Identity {
	var id proc.Identity
	b, err := os.ReadFile(identityFile(dir))
	if err != nil {
		return id
	}
	pid, start, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	id.PID, _ = strconv.Atoi(pid) // a broken file is nobody's identity
	id.Start, _ = strconv.ParseUint(start, 10, 64)
	return id
}
