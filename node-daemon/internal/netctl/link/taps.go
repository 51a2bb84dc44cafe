package link

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Orphans are the TAP devices that are in no bridge: guests that have lost theirs.
func (l *Links) Orphans() (names []string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the network devices: %w", err)
	}
	for _, link := range links {
		if link.Type() == "tuntap" && link.Attrs().MasterIndex == 0 {
			names = append(names, link.Attrs().Name)
		}
	}
	return names, nil
}

// Attach puts a TAP device that is in no bridge into one.
func (l *Links) Attach(tap, bridge string) error {
	port, err := netlink.LinkByName(tap)
	if err != nil {
		return fmt.Errorf("find %s: %w", tap, err)
	}
	master, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find %s: %w", bridge, err)
	}
	if port.Attrs().MasterIndex != 0 || master.Type() != "bridge" {
		return errs.Conflictf("%s is in a bridge already, or %s is none", tap, bridge)
	}
	if err := netlink.LinkSetMaster(port, master); err != nil {
		return fmt.Errorf("put %s into %s: %w", tap, bridge, err)
	}
	return nil
}
