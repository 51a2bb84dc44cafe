package primary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/coord/lease"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Address is a floating address of the cluster. The kernel removes it by itself when
// the lease it was given for is over, so that it goes with a daemon that was killed,
// stopped or is stuck.
type Address struct {
	Device string
	Prefix netip.Prefix // the address with the length of its network
	Logger *slog.Logger
}

// Name is the address.
func (a *Address) Name() string { return fmt.Sprintf("address %s on %s", a.Prefix, a.Device) }

// Acquire adds the address for the time given and announces it to the neighbours.
func (a *Address) Acquire(_ context.Context, until time.Duration) error {
	if err := a.set(until); err != nil {
		return err
	}
	a.announce()
	return nil
}

// Keep prolongs the address; one that has expired meanwhile is announced anew.
func (a *Address) Keep(_ context.Context, until time.Duration) error {
	there, err := a.present()
	if err != nil {
		return err
	}
	if err := a.set(until); err != nil {
		return err
	}
	if !there {
		a.announce()
	}
	return nil
}

// Release removes the address and reads the kernel back.
func (a *Address) Release(context.Context) error {
	link, err := netlink.LinkByName(a.Device)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil // the address went with the device
	}
	if err != nil {
		return fmt.Errorf("find device %s: %w", a.Device, err)
	}
	err = netlink.AddrDel(link, a.netlink(0))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove %s from %s: %w", a.Prefix, a.Device, err)
	}
	if there, err := a.present(); err != nil || there {
		return errors.Join(err, errs.New(errs.Internal, "%s is still on %s", a.Prefix, a.Device))
	}
	return nil
}

// tooLate is by how much the kernel may be told late: a process that was stopped in
// between would prolong the address beyond the lease.
const tooLate = 500 * time.Millisecond

// set adds or prolongs the address for whole seconds, the kernel's unit.
func (a *Address) set(until time.Duration) error {
	began := lease.Now()
	seconds := int(until / time.Second)
	if seconds < 1 {
		return errs.Unavailablef("the lease is too short to hold %s", a.Prefix)
	}
	link, err := netlink.LinkByName(a.Device)
	if err != nil {
		return fmt.Errorf("find device %s: %w", a.Device, err)
	}
	if err := netlink.AddrReplace(link, a.netlink(seconds)); err != nil {
		return fmt.Errorf("add %s to %s: %w", a.Prefix, a.Device, err)
	}
	if late := time.Duration(lease.Now() - began); late > tooLate {
		err := netlink.AddrDel(link, a.netlink(0))
		return errors.Join(errs.Unavailablef("the address %s was set %v late and is removed again", a.Prefix, late), err)
	}
	return nil
}

func (a *Address) netlink(seconds int) *netlink.Addr {
	return &netlink.Addr{
		IPNet:    &net.IPNet{IP: a.Prefix.Addr().AsSlice(), Mask: net.CIDRMask(a.Prefix.Bits(), a.Prefix.Addr().BitLen())},
		ValidLft: seconds, PreferedLft: seconds,
		Flags: a.flags(),
	}
}

// flags: duplicate detection would keep an IPv6 address unusable for a second, and
// the election has already made sure that nobody else has it.
func (a *Address) flags() int {
	if a.Prefix.Addr().Is6() {
		return unix.IFA_F_NODAD
	}
	return 0
}

func (a *Address) present() (bool, error) {
	link, err := netlink.LinkByName(a.Device)
	if err != nil {
		return false, fmt.Errorf("find device %s: %w", a.Device, err)
	}
	family := netlink.FAMILY_V4
	if a.Prefix.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	addrs, err := netlink.AddrList(link, family)
	if err != nil {
		return false, fmt.Errorf("list the addresses of %s: %w", a.Device, err)
	}
	for _, have := range addrs {
		if ip, ok := netip.AddrFromSlice(have.IP); ok && ip.Unmap() == a.Prefix.Addr() {
			return true, nil
		}
	}
	return false, nil
}

// announce tells the neighbours where the address is now. Without it they find out
// when their own entries have aged, so a failure is a remark only.
func (a *Address) announce() {
	if !a.Prefix.Addr().Is4() {
		return // neighbours of IPv6 check an entry that does not answer within seconds
	}
	if err := sendGratuitousARP(a.Device, a.Prefix.Addr()); err != nil {
		a.Logger.Warn("a floating address could not be announced", "address", a.Prefix.String(), "device", a.Device, "err", err)
	}
}
