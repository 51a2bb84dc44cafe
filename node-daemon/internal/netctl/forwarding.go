package netctl

import (
	"fmt"
	"os"
)

// switches of the kernel that a host needs which may become primary: it routes between
// the networks, and does not take part in source routing.
var switches = []struct{ file, value string }{
	{"/proc/sys/net/ipv4/ip_forward", "1"},
	{"/proc/sys/net/ipv6/conf/all/forwarding", "1"},
	{"/proc/sys/net/ipv4/conf/all/accept_source_route", "0"},
	{"/proc/sys/net/ipv6/conf/all/accept_source_route", "0"},
}

// EnableForwarding has the host route. A kernel without IPv6 has no switch for it.
func EnableForwarding() error {
	for _, s := range switches {
		if err := os.WriteFile(s.file, []byte(s.value+"\n"), 0o644); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("set %s to %s: %w", s.file, s.value, err)
		}
	}
	return nil
}

// OurBridge reports whether a device is the bridge of a virtual network.
func OurBridge(device string) bool {
	_, ours := vniOf(device)
	return ours
}
