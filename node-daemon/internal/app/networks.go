package app

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/config"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
	"github.com/parallelvirtualcluster/pvc/common/service"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/address"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/dhcp"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/dns"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/firewall"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/link"
)

// networks is the part of the daemon that looks after virtual networks. It lives as
// long as the daemon: guests keep their networks while a session is lost.
type networks struct {
	view       *view.View
	controller *netctl.Controller
	links      *link.Links
	cannot     string        // have bridged networks, because: as it was logged last
	dhcp       *dhcp.Servers // nil, as dns is, on a host that cannot become primary
	dns        *dns.Server
}

func (d *daemon) newNetworks() (*networks, error) {
	c := d.config
	scope := view.HostNetworks
	if c.IsCoordinator() {
		scope = view.CoordinatorNetworks
	}
	n := &networks{view: view.New(view.Options{
		Scope: scope, Dial: zk.Dial, Servers: d.coord.Servers, Timeout: d.coord.Timeout, Digest: d.coord.Digest,
		Connections: 1, Logger: d.log.Logger,
	})}
	n.links = link.New(underlay(c.Networking), d.log.Logger)
	o := netctl.Options{Node: c.Name, View: n.view, Links: n.links, Taps: d.taps, Logger: d.log.Logger}
	if c.IsCoordinator() {
		if err := netctl.EnableForwarding(); err != nil {
			return nil, err
		}
		if err := n.addPrimary(d, &o); err != nil {
			return nil, err
		}
	}
	n.controller = netctl.New(o)
	return n, nil
}

// underlay is what the devices of networks stand on.
func underlay(n config.Networking) link.Underlay {
	return link.Underlay{Device: n.Cluster.Device, Local: n.Cluster.Address.Addr(), BridgedDevice: cmp.Or(n.BridgeDevice, n.Cluster.Device)}
}

// addFacts says whether the host can have bridged networks, which may change: Open
// vSwitch may come up later than this daemon, and go down.
func (n *networks) addFacts(ctx context.Context, f *model.NodeFacts, log *slog.Logger) {
	if err := n.links.VLANs(ctx); err != nil {
		f.NoBridged = err.Error()
		f.Health = append(f.Health, "bridged networks are not possible: "+f.NoBridged)
	}
	if f.NoBridged != n.cannot && f.NoBridged != "" {
		log.Warn("this host cannot have bridged networks", "err", f.NoBridged)
	}
	n.cannot = f.NoBridged
}

// taps are the TAP devices of the running guests and the bridges they belong into.
func (d *daemon) taps(ctx context.Context) (map[string]string, error) {
	if !d.config.Functions.Hypervisor {
		return nil, nil
	}
	domains, err := d.hypervisor.List(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, dom := range domains {
		xml, err := d.hypervisor.XML(ctx, dom.UUID)
		if err != nil {
			continue // it may just have ended
		}
		spec, err := domxml.Parse(xml)
		if err != nil {
			continue
		}
		for _, nic := range spec.Networks {
			if nic.Type == "bridge" && nic.Target != "" {
				out[nic.Target] = nic.Source
			}
		}
	}
	return out, nil
}

// addPrimary adds what only a host needs that may become primary.
func (n *networks) addPrimary(d *daemon, o *netctl.Options) error {
	c := d.config
	o.Addresses = address.NewSet("floating and gateway addresses", netctl.OurBridge, d.log.Logger)
	var floating []netip.Prefix
	for _, f := range []struct {
		device string
		prefix netip.Prefix
	}{{c.Networking.Upstream.Device, c.Cluster.Upstream.Floating}, {c.Networking.Cluster.Device, c.Cluster.Internal.Floating}} {
		if f.prefix.IsValid() {
			o.Floating = append(o.Floating, address.Place{Device: f.device, Prefix: f.prefix})
			floating = append(floating, f.prefix)
		}
	}
	forward := c.DNS.Forwarders
	if len(forward) == 0 {
		forward = hostNameServers()
	}
	runner := run.System{}
	o.Firewall = firewall.New(runner, d.log.Logger)
	n.dns = dns.New(dns.Options{
		Forward: withPort(forward, 53), Transfer: withPort(c.DNS.Transfer, 0), Addresses: floating, Log: d.log.Logger,
	})
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program for dnsmasq: %w", err)
	}
	n.dhcp, err = dhcp.New(dhcp.Options{
		Dir: filepath.Join(c.Dirs.Dynamic, "dhcp"), HookSocket: filepath.Join(c.Dirs.Dynamic, "dhcp.sock"), LogDir: filepath.Join(c.Dirs.Log, "dnsmasq"),
		Self: self, Leases: netctl.NewLeases(c.Name, n.view), Log: d.log.Logger,
	})
	if err != nil {
		return err
	}
	o.DNS, o.DNSPort, o.DHCP = n.dns, uint16(c.DNS.Port), n.dhcp
	return nil
}

// IsHook reports whether the program was started by dnsmasq, which then runs Hook.
func IsHook(name string) bool { return dhcp.IsHook(name) }

// Hook tells the running daemon what dnsmasq has to say; it returns the exit status.
func Hook(args []string) int { return dhcp.Hook(args, os.Getenv, os.Stdout, os.Stderr) }

// add makes the parts services of the daemon.
func (n *networks) add(group *service.Group) {
	group.Add("networks view", n.view)
	if n.dns != nil {
		group.Add("name server", n.dns)
		group.Add("DHCP", n.dhcp)
	}
	group.Add("networks", n.controller)
}

func withPort(addrs []netip.Addr, port uint16) (out []netip.AddrPort) {
	for _, a := range addrs {
		out = append(out, netip.AddrPortFrom(a, port))
	}
	return out
}

// hostNameServers are those of the host, resolv.conf(5). Without the file, or with none
// in it, names that are not ours are not answered.
func hostNameServers() (out []netip.Addr) {
	f, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) >= 2 && words[0] == "nameserver" {
			if a, err := netip.ParseAddr(words[1]); err == nil {
				out = append(out, a)
			}
		}
	}
	return out
}
