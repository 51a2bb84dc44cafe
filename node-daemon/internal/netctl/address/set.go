package address

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/coord/lease"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Place is an address on a device, with the length of its network.
type Place struct {
	Device string
	Prefix netip.Prefix // the address itself, not masked
}

func (p Place) String() string { return p.Prefix.String() + " on " + p.Device }

// Set is a number of addresses that are taken, kept and given up together. It is a
// role of the primary.
type Set struct {
	name string
	log  *slog.Logger
	// owns says of which devices all addresses are ours, so that a stray one can be removed.
	owns func(device string) bool

	mu     sync.Mutex
	wanted []Place
	until  lease.Moment      // end of the life of what is held, 0 if nothing is
	placed map[Place]placing // what was put somewhere and not taken away since
	// trouble is what is wrong with single addresses, to log it once.
	trouble string
	// handle is the socket to the kernel, nil until it is needed and after a failure.
	handle *netlink.Handle
}

type placing struct{ announcements int } // still to be made

// repeats are the announcements of an address, one at each Keep: a neighbour, or the
// bridge before it, may miss one while the host it came from still goes away.
const repeats = 3

// NewSet returns a set without addresses. Of a device that owns names, addresses of
// others are removed.
func NewSet(name string, owns func(device string) bool, log *slog.Logger) *Set {
	return &Set{name: name, owns: owns, log: log, placed: map[Place]placing{}}
}

// Name is for logs.
func (s *Set) Name() string { return s.name }

// Want says which addresses belong to the set from now on. While the set is held they
// are put where they belong at once, and others of the set are removed.
func (s *Set) Want(places []Place) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = slices.Clone(places)
	return s.apply(s.left())
}

// Acquire puts the addresses in place for the time given and announces them to the
// neighbours. A device that is not there yet gets its address with a later Want; an address
// that the kernel refuses is logged and tried again.
func (s *Set) Acquire(ctx context.Context, until time.Duration) error { return s.Keep(ctx, until) }

// Keep prolongs the addresses; those that have expired meanwhile are announced anew.
func (s *Set) Keep(_ context.Context, until time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until < time.Second {
		return errs.Unavailablef("the lease is too short to hold %s", s.name)
	}
	s.until = lease.Now() + lease.Moment(until)
	return s.apply(until)
}

// Release removes the addresses and reads the kernel back.
func (s *Set) Release(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = 0
	for _, p := range s.wanted {
		s.placed[p] = placing{} // also what a daemon before this one has left
	}
	if err := s.apply(0); err != nil {
		return err
	}
	have, err := readKernel(s.handle)
	if err != nil {
		return err
	}
	for _, p := range s.wanted {
		if _, there := have.addrs[p.key(have)]; there {
			return errs.New(errs.Internal, "%s is still there", p)
		}
	}
	return nil
}

// left is for how long the addresses may still be put somewhere, 0 if not at all.
func (s *Set) left() time.Duration {
	if s.until == 0 {
		return 0
	}
	return max(time.Duration(s.until-lease.Now()), 0)
}

// tooLate is by how much the kernel may be told late: a process that was stopped in
// between would prolong an address beyond the lease.
const tooLate = 500 * time.Millisecond

// apply makes the kernel agree: with a second or more left the wanted addresses are
// set, else removed; strays go. s.mu is held.
func (s *Set) apply(left time.Duration) (err error) {
	end := lease.Now() + lease.Moment(left)
	if s.handle == nil {
		if s.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
	}
	have, err := readKernel(s.handle)
	if err != nil {
		s.handle.Close() // a socket that has lost step must not be asked again
		s.handle = nil
		return err
	}
	var wanted []Place
	if left >= time.Second {
		wanted = s.wanted
	}
	if err := s.clear(have, wanted); err != nil {
		return err
	}
	var set []Place
	var failed []error
	for _, p := range wanted {
		index, there := have.links[p.Device]
		if !there {
			delete(s.placed, p) // it went with the device
			continue
		}
		if err := p.put(s.handle, index, end); err != nil {
			failed = append(failed, err)
			continue
		}
		set = append(set, p)
		if _, known := have.addrs[p.key(have)]; !known {
			s.placed[p] = placing{repeats}
		} else if _, ours := s.placed[p]; !ours {
			s.placed[p] = placing{repeats}
		}
	}
	s.complain(errors.Join(failed...))
	s.announce(set)
	return nil
}

// complain logs once what is wrong with single addresses. That is no reason to give the
// others up: one impossible gateway on record would leave the cluster without a primary.
// Each Keep tries again. s.mu is held.
func (s *Set) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != s.trouble && err != nil {
		s.log.Warn("an address cannot be set", "set", s.name, "err", err)
	}
	s.trouble = text
}

// put sets one address for the time that is left until the end.
func (p Place) put(to *netlink.Handle, index int, end lease.Moment) error {
	began := lease.Now()
	left := time.Duration(end - began)
	if left < time.Second {
		return errs.Unavailablef("%s is not prolonged: the lease ends in %v", p, left)
	}
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index, Name: p.Device}}
	addr := p.netlink(left)
	if err := to.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("add %s: %w", p, err)
	}
	if late := time.Duration(lease.Now() - began); late > tooLate {
		err := to.AddrDel(link, addr)
		return errors.Join(errs.Unavailablef("%s was set %v late and is removed again", p, late), err)
	}
	return nil
}

// clear removes what is not wanted: what this set has placed, addresses of the set that
// an earlier daemon left while nothing may be held, and strays. s.mu is held.
func (s *Set) clear(have kernel, wanted []Place) error {
	keep := map[Place]bool{}
	for _, p := range wanted {
		keep[p] = true
	}
	var all []error
	for key, addr := range have.addrs {
		p := Place{Device: have.names[key.link], Prefix: key.prefix}
		_, ours := s.placed[p]
		// What expires by itself was placed by a daemon that may come back to it: a
		// restart must not interrupt anybody.
		stray := s.owns(p.Device) && (addr.ValidLft <= 0 || addr.ValidLft == forever)
		if keep[p] || !ours && !stray {
			continue
		}
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: key.link, Name: p.Device}}
		if err := s.handle.AddrDel(link, &addr); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
			all = append(all, fmt.Errorf("remove %s: %w", p, err))
			continue
		}
		if !ours {
			s.log.Warn("removed an address that does not belong there", "address", p.Prefix.String(), "device", p.Device)
		}
	}
	for p := range s.placed {
		if !keep[p] {
			delete(s.placed, p)
		}
	}
	return errors.Join(all...)
}

// announce tells the neighbours of the addresses that need it. Without it they find out
// when their own entries have aged, so a failure is a remark only. s.mu is held.
func (s *Set) announce(places []Place) {
	to := newAnnouncer()
	defer to.close()
	for _, p := range places {
		n := s.placed[p].announcements
		if n == 0 {
			continue
		}
		s.placed[p] = placing{n - 1}
		if err := to.announce(p); err != nil {
			s.log.Warn("an address could not be announced", "address", p.Prefix.String(), "device", p.Device, "err", err)
		}
	}
}

// forever is how the kernel says that an address does not expire.
const forever = 1<<32 - 1

// netlink is the address for whole seconds, the kernel's unit. Duplicate detection
// would keep an IPv6 address unusable for a second, and the election has already made
// sure that nobody else has it.
func (p Place) netlink(left time.Duration) *netlink.Addr {
	seconds := int(left / time.Second)
	a := &netlink.Addr{IPNet: ipNet(p.Prefix), ValidLft: seconds, PreferedLft: seconds}
	if p.Prefix.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}
