package link

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// probeVLANs tries to make a VLAN device, in a name space made for that, on a bridge
// that nothing is attached to.
func probeVLANs() error {
	h, err := elsewhere()
	if err != nil {
		return errs.Unavailablef("it could not be tried whether the kernel has VLAN devices: %w", err)
	}
	defer h.Close() // and with its last socket the name space goes
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "below"
	below := &netlink.Bridge{LinkAttrs: attrs}
	if err := h.LinkAdd(below); err != nil {
		return errs.Unavailablef("it could not be tried whether the kernel has VLAN devices: create a bridge: %w", err)
	}
	attrs = netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "above", below.Index
	err = h.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: 1})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return errs.Unavailablef("the kernel has no VLAN devices (8021q), which bridged networks need: %w", err)
	}
	if err != nil {
		return errs.Unavailablef("the kernel makes no VLAN devices: %w", err)
	}
	return nil
}

// elsewhere returns a handle on a new network name space. The thread that made it
// goes back where it came from; one that cannot is not used any more.
func elsewhere() (*netlink.Handle, error) {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer here.Close()
	there, err := netns.New() // enters it
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("make a network name space: %w", err)
	}
	defer there.Close()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if back := netns.Set(here); back != nil {
		if h != nil {
			h.Close()
		}
		return nil, fmt.Errorf("return to the network name space: %w", back)
	}
	runtime.UnlockOSThread()
	return h, err
}
