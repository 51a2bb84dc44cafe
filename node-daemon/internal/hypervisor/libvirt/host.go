package libvirt

import (
	"context"
	"fmt"
	"slices"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

const arch = "x86_64"

// Host implements hypervisor.Hypervisor.
func (d *Driver) Host(ctx context.Context) (hypervisor.HostInfo, error) {
	return call(ctx, d, "read the host's capabilities", reads, readHost)
}

func readHost(c *lv.Connect) (hypervisor.HostInfo, error) {
	text, err := c.GetCapabilities()
	if err != nil {
		return hypervisor.HostInfo{}, err
	}
	info, err := parseCapabilities(text)
	if err != nil {
		return info, err
	}
	if info.Version, err = readVersion(c); err != nil {
		return info, err
	}
	if info.KVM {
		// The list says that the device file is there; this asks the emulator.
		_, err := c.GetDomainCapabilities("", arch, "", "kvm", 0)
		info.KVM = err == nil
	}
	return info, nil
}

// parseCapabilities reads what virConnectGetCapabilities returns.
func parseCapabilities(text string) (hypervisor.HostInfo, error) {
	var caps libvirtxml.Caps
	if err := caps.Unmarshal(text); err != nil {
		return hypervisor.HostInfo{}, fmt.Errorf("capabilities: %w", err)
	}
	info := hypervisor.HostInfo{UUID: caps.Host.UUID}
	if caps.Host.CPU != nil {
		info.CPUModel = caps.Host.CPU.Model
	}
	for _, g := range caps.Guests {
		if g.Arch.Name != arch || g.OSType != "hvm" {
			continue
		}
		for _, m := range g.Arch.Machines {
			info.Machines = append(info.Machines, m.Name, m.Canonical)
		}
		for _, dom := range g.Arch.Domains {
			info.KVM = info.KVM || dom.Type == "kvm"
			for _, m := range dom.Machines {
				info.Machines = append(info.Machines, m.Name, m.Canonical)
			}
		}
	}
	info.Machines = slices.DeleteFunc(info.Machines, func(m string) bool { return m == "" })
	slices.Sort(info.Machines)
	info.Machines = slices.Compact(info.Machines)
	return info, nil
}

// readVersion names libvirt and the emulator.
func readVersion(c *lv.Connect) (string, error) {
	lib, err := c.GetLibVersion()
	if err != nil {
		return "", err
	}
	emulator, err := c.GetVersion()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("libvirt %s, QEMU %s", dotted(lib), dotted(emulator)), nil
}

// dotted writes a version as libvirt counts it: major * 1,000,000 + minor * 1,000 + release.
func dotted(v uint32) string { return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1_000%1_000, v%1_000) }
