package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// rawNode holds values that only mean something together with others.
type rawNode struct {
	name                       string
	upstream, cluster, storage ownAddress
	onSuccess, onFailure       string
}

// ownAddress is how a host finds its address in a network.
type ownAddress struct {
	byID   bool
	prefix netip.Prefix
}

// nodeEntries is every key that pvcd.yaml may have.
func nodeEntries(c *Node, raw *rawNode) []entry {
	return slices.Concat(
		[]entry{
			boolean("debug", &c.Debug),
			boolean("pvc.debug", &c.Debug),
			text("pvc.node", &raw.name),
			boolean("pvc.functions.enable_hypervisor", &c.Functions.Hypervisor).required(),
			boolean("pvc.functions.enable_networking", &c.Functions.Networking).required(),
			boolean("pvc.functions.enable_storage", &c.Functions.Storage).required(),
			inert("pvc.functions.enable_api", "pvc-api is a service of its own and follows the primary by itself"),
		},
		clusterEntries(c), systemEntries(c, raw), configurationEntries(c, raw),
	)
}

func clusterEntries(c *Node) []entry {
	networking := func() bool { return c.Functions.Networking }
	storage := func() bool { return c.Functions.Networking && c.Functions.Storage }
	const dns, why = "pvc.coordinator.dns.database.", "the aggregated DNS has no database"
	return slices.Concat(
		[]entry{endpoints("pvc.cluster.coordinators", &c.Cluster.Coordinators).required()},
		zooKeeperEntries("pvc.cluster.zookeeper", &c.Cluster.ZooKeeper),
		networkEntries("pvc.cluster.networks.upstream", &c.Cluster.Upstream, networking),
		[]entry{address("pvc.cluster.networks.upstream.gateway", &c.Cluster.Upstream.Gateway)},
		networkEntries("pvc.cluster.networks.cluster", &c.Cluster.Internal, networking),
		networkEntries("pvc.cluster.networks.storage", &c.Cluster.Storage, storage),
		[]entry{
			port("pvc.coordinator.dns.port", &c.DNS.Port),
			addresses("pvc.coordinator.dns.forwarders", &c.DNS.Forwarders),
			addresses("pvc.coordinator.dns.transfer", &c.DNS.Transfer),
			inert(dns+"host", why), inert(dns+"port", why), inert(dns+"name", why),
			inert(dns+"user", why), inert(dns+"pass", why),
		},
	)
}

func networkEntries(section string, n *Network, needed func() bool) []entry {
	return []entry{
		value(section+".domain", "a domain name", &n.Domain, domainName).requiredIf(needed),
		subnet(section+".network", &n.Network).requiredIf(needed),
		hostPrefix(section+".floating_ip", &n.Floating).requiredIf(needed),
	}
}

func domainName(s string) (string, bool) {
	return strings.ToLower(strings.TrimSuffix(s, ".")), len(s) <= 253 && hostName.MatchString(s)
}

func systemEntries(c *Node, raw *rawNode) []entry {
	const fencing, migration, vm, storage = "pvc.system.fencing.", "pvc.system.migration.", "pvc.system.vm.", "pvc.system.storage."
	f, m, v := &c.Fencing, &c.Migration, &c.VM
	return []entry{
		seconds(fencing+"intervals.keepalive_interval", &f.KeepaliveInterval, 1, 3600),
		whole(fencing+"intervals.fence_intervals", &f.FenceIntervals, 1, 1000),
		inert(fencing+"intervals.suicide_intervals", "a host does not fence itself"),
		fenceAction(fencing+"actions.successful_fence", &f.OnSuccess, &raw.onSuccess),
		fenceAction(fencing+"actions.failed_fence", &f.OnFailure, &raw.onFailure),
		text(fencing+"ipmi.host", &f.IPMI.Host),
		text(fencing+"ipmi.user", &f.IPMI.User),
		secret(fencing+"ipmi.pass", &f.IPMI.Password).asIs(),

		word(migration+"target_selector", &m.Selector, model.SelectMem, model.SelectVCPUs, model.SelectLoad, model.SelectVMs),
		whole(migration+"parallel", &m.Parallel, 1, 64),
		whole(migration+"bandwidth", &m.BandwidthMiB, 0, 1<<20),
		paths(migration+"shared_directories", &m.SharedDirs),
		address(migration+"listen_address", &m.ListenAddress),
		value(migration+"libvirt_uri", "a libvirt URI that begins with qemu", &m.LibvirtURI, libvirtURI),
		value(migration+"peer_uri", "a libvirt URI that begins with qemu and holds {node}, perhaps {domain}", &m.PeerTemplate, peerTemplate),
		boolean(migration+"encrypt_memory", &m.EncryptMemory),

		seconds(vm+"shutdown_timeout", &v.ShutdownTimeout, 1, 86400),
		whole(vm+"parallel_starts", &v.ParallelStarts, 1, 256),
		whole(vm+"crash_limit", &v.CrashLimit, 1, 1000),
		seconds(vm+"crash_window", &v.CrashWindow, 1, 86400),

		path(storage+"ceph_config_file", &c.Ceph.ConfigFile),
		value(storage+"ceph_user", "the name of a Ceph user, with or without client.", &c.Ceph.User, cephUser),
		path(storage+"ceph_keyring_file", &c.Ceph.Keyring),
		value(storage+"guest_user", "the name of a Ceph user, with or without client.", &c.Ceph.GuestUser, cephUser),
		path(storage+"guest_keyring_file", &c.Ceph.GuestKeyring),
		value(storage+"secret_uuid", "a UUID", &c.Ceph.SecretUUID, secretUUID),

		path("pvc.system.secrets.key_file", &c.SecretKeyFile),
	}
}

// cephUserName is what Ceph's tools accept in practice; it also names files.
var cephUserName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

func cephUser(s string) (string, bool) {
	s = strings.TrimPrefix(s, "client.")
	return s, cephUserName.MatchString(s)
}

// secretUUID accepts none.
func secretUUID(s string) (string, bool) {
	if s == "" {
		return "", true
	}
	return model.ParseUUID(s)
}

func configurationEntries(c *Node, raw *rawNode) []entry {
	const dirs, log, net = "pvc.system.configuration.directories.", "pvc.system.configuration.logging.", "pvc.system.configuration.networking."
	const noColours, noKeepalives = "the log has no colours", "keepalives are not logged; see the metrics"
	networking := func() bool { return c.Functions.Networking }
	storage := func() bool { return c.Functions.Networking && c.Functions.Storage }
	return slices.Concat(
		[]entry{
			path(dirs+"dynamic_directory", &c.Dirs.Dynamic),
			path(dirs+"log_directory", &c.Dirs.Log),
			path(dirs+"console_log_directory", &c.Dirs.ConsoleLog),
			path(dirs+"lock_directory", &c.Dirs.Lock),
			boolean(log+"file_logging", &c.Logging.File),
			boolean(log+"stdout_logging", &c.Logging.Stdout),
			boolean(log+"log_dates", &c.Logging.Dates),
			inert(log+"log_colours", noColours),
			inert(log+"log_keepalives", noKeepalives),
			inert(log+"log_keepalive_cluster_details", noKeepalives),
			inert(log+"log_keepalive_storage_details", noKeepalives),
			whole(log+"console_log_lines", &c.Logging.ConsoleLines, 1, 100000),
			whole(log+"console.max_bytes", &c.Logging.ConsoleMaxBytes, 1024, 512<<10),
			whole(log+"console.rotate_bytes", &c.Logging.ConsoleRotateBytes, 64<<10, 1<<30),
		},
		[]entry{value(net+"bridge_device", "the name of a network device", &c.Networking.BridgeDevice, deviceName)},
		interfaceEntries(net+"upstream", &c.Networking.Upstream, &raw.upstream, networking),
		interfaceEntries(net+"cluster", &c.Networking.Cluster, &raw.cluster, networking),
		interfaceEntries(net+"storage", &c.Networking.Storage, &raw.storage, storage),
	)
}

func interfaceEntries(section string, i *Interface, own *ownAddress, needed func() bool) []entry {
	return []entry{
		value(section+".device", "the name of a network device", &i.Device, deviceName).requiredIf(needed),
		whole(section+".mtu", &i.MTU, 576, 65535),
		value(section+".address", "by-id, None, or address/length", own, func(s string) (ownAddress, bool) {
			if s == "by-id" {
				return ownAddress{byID: true}, true
			}
			p, err := netip.ParsePrefix(s)
			return ownAddress{prefix: p}, err == nil
		}),
	}
}

// device is what the kernel takes as the name of a device (dev_valid_name).
var device = regexp.MustCompile(`^[^/:\s[:cntrl:]]{1,15}$`)

func deviceName(s string) (string, bool) {
	return s, device.MatchString(s) && s != "." && s != ".."
}

// fenceAction keeps the word beside its meaning: to PVC 0.5 every word but migrate
// meant "do nothing".
func fenceAction(key string, to *FenceAction, word *string) entry {
	e := entry{key: key, expect: "migrate or None", literal: true}
	e.decode = func(n *yaml.Node) error {
		s, ok := scalar(n)
		if !ok && !isUnset(n) {
			return wrong(n, e.expect)
		}
		*word, *to = s, FenceNone
		if s == string(FenceMigrate) {
			*to = FenceMigrate
		}
		return nil
	}
	return e
}

func libvirtURI(s string) (string, bool) {
	u, err := url.Parse(s)
	return s, err == nil && (u.Scheme == "qemu" || strings.HasPrefix(u.Scheme, "qemu+"))
}

func peerTemplate(s string) (string, bool) {
	uri := strings.NewReplacer("{node}", "node", "{domain}", "domain").Replace(s)
	_, ok := libvirtURI(uri)
	return s, ok && strings.Contains(s, "{node}") && !strings.ContainsAny(uri, "{}")
}
