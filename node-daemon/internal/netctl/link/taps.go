package link

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// dataPath is the TAP device of Open vSwitch in user space that belongs to no bridge.
const dataPath = "ovs-netdev"

// Orphans are the TAP devices that are in no bridge: guests that have lost theirs. Those
// of Open vSwitch, as far as it was asked, are none.
func (l *Links) Orphans() (names []string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the network devices: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switched := map[string]switchPort{}
	if l.kernel != nil {
		switched = l.kernel.switches.ports
	}
	for _, link := range links {
		name := link.Attrs().Name
		_, port := switched[name]
		if link.Type() == "tuntap" && link.Attrs().MasterIndex == 0 && !port && name != l.underlay.BridgedDevice && name != dataPath {
			names = append(names, name)
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
