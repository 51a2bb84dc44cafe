package testbed

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// Configuration files of our daemons below /etc of a host.
const (
	pvcdFile = "pvc/pvcd.yaml"
	apiFile  = "pvc/pvc-api.yaml"
)

// APIPort is the port of pvc-api on the primary's address.
const APIPort = 7370

// secrets of a cluster, made anew by every Up.
type secrets struct {
	Token     string // the API's one token
	SecretKey string // signs sessions
	// Of the storage cluster, if there is one.
	FSID        string
	Ceph        ceph.Keys
	GuestSecret string // UUID by which libvirt knows the key of the guests' user
}

func (o Options) newSecrets() secrets {
	s := secrets{Token: rand.Text(), SecretKey: rand.Text() + rand.Text()}
	if o.Storage {
		s.FSID, s.GuestSecret = ceph.NewUUID(), ceph.NewUUID()
		s.Ceph = o.cephConfig(1, s).NewKeys()
	}
	return s
}

func (o Options) daemonFiles(i int, s secrets) ([]host.File, error) {
	base := o.pvcdSettings(i)
	if o.Networking {
		maps.Copy(base, o.networkSettings(i))
	}
	if o.Storage {
		maps.Copy(base, o.storageSettings(i, s))
	}
	if o.OpenVSwitch {
		base["pvc.system.configuration.networking.bridge_device"] = TrunkBridge
	}
	maps.Copy(base, o.PVCDSettings)
	pvcd, err := settings(base, o.HostSettings[i])
	if err != nil {
		return nil, fmt.Errorf("configure pvcd of %s: %w", o.name(i), err)
	}
	api, err := settings(o.apiSettings(i, s), o.APISettings)
	if err != nil {
		return nil, fmt.Errorf("configure pvc-api of %s: %w", o.name(i), err)
	}
	return []host.File{
		{Name: pvcdFile, Content: pvcd, Mode: 0o600},
		{Name: apiFile, Content: api, Mode: 0o600},
	}, nil
}

func (o Options) coordinators() []string {
	var names []string
	for i := 1; i <= o.Coordinators; i++ {
		names = append(names, o.name(i))
	}
	return names
}

func (o Options) pvcdSettings(i int) map[string]any {
	return map[string]any{
		"pvc.node":                                                   o.name(i),
		"pvc.functions.enable_hypervisor":                            true,
		"pvc.functions.enable_networking":                            false,
		"pvc.functions.enable_storage":                               false,
		"pvc.functions.enable_api":                                   true,
		"pvc.cluster.coordinators":                                   o.coordinators(),
		"pvc.system.fencing.intervals.keepalive_interval":            5,
		"pvc.system.fencing.intervals.fence_intervals":               6,
		"pvc.system.fencing.actions.successful_fence":                "migrate",
		"pvc.system.fencing.actions.failed_fence":                    "None",
		"pvc.system.migration.target_selector":                       "mem",
		"pvc.system.migration.shared_directories":                    []string{o.shared()},
		"pvc.system.configuration.directories.dynamic_directory":     "/run/pvc",
		"pvc.system.configuration.directories.log_directory":         "/var/log/pvc",
		"pvc.system.configuration.directories.console_log_directory": "/var/log/libvirt",
		"pvc.system.configuration.logging.file_logging":              false,
		"pvc.system.configuration.logging.stdout_logging":            true,
		"pvc.system.configuration.logging.console_log_lines":         1000,
	}
}

// Upstream is the network of the users, beside that of the hosts on the same wire.
const (
	Upstream         = "192.0.2.0/24"
	UpstreamFloating = "192.0.2.10/24"
)

// inSubnet is an address in the network of the hosts, with its length.
func (o Options) inSubnet(last byte) string {
	b := o.subnet().Addr().As4()
	b[3] = last
	return netip.PrefixFrom(netip.AddrFrom4(b), o.subnet().Bits()).String()
}

// floating is the address that the primary has in the network of the hosts.
func (o Options) floating() string { return o.inSubnet(250) }

// networkSettings are for hosts that look after virtual networks.
func (o Options) networkSettings(i int) map[string]any {
	const cluster, own = "pvc.cluster.networks.", "pvc.system.configuration.networking."
	return map[string]any{
		"pvc.functions.enable_networking": true,
		cluster + "upstream.domain":       "upstream.test",
		cluster + "upstream.network":      Upstream,
		cluster + "upstream.floating_ip":  UpstreamFloating,
		cluster + "cluster.domain":        "cluster.test",
		cluster + "cluster.network":       o.subnet().String(),
		cluster + "cluster.floating_ip":   o.floating(),
		"pvc.system.migration.peer_uri":   "qemu+tls://{node}/system", // the testbed has no name server
		own + "upstream.device":           "eth0",
		own + "upstream.address":          "None",
		own + "cluster.device":            "eth0",
		own + "cluster.address":           o.inSubnet(byte(10 + i)),
	}
}

// storageSettings are for hosts that look after the storage cluster, which is on the
// network of the hosts.
func (o Options) storageSettings(i int, s secrets) map[string]any {
	const cluster, own, system = "pvc.cluster.networks.storage.", "pvc.system.configuration.networking.storage.", "pvc.system.storage."
	settings := map[string]any{
		"pvc.functions.enable_storage": true,
		system + "ceph_config_file":    ceph.ConfPath,
		system + "ceph_user":           strings.TrimPrefix(ceph.PVC, "client."),
		system + "ceph_keyring_file":   ceph.KeyringPath(ceph.PVC),
		system + "guest_user":          strings.TrimPrefix(ceph.Libvirt, "client."),
		system + "secret_uuid":         s.GuestSecret,
	}
	if o.Networking {
		maps.Copy(settings, map[string]any{
			cluster + "domain":      "storage.test",
			cluster + "network":     o.subnet().String(),
			cluster + "floating_ip": o.inSubnet(251),
			own + "device":          "eth0",
			own + "address":         o.inSubnet(byte(10 + i)),
		})
	}
	return settings
}

func (o Options) apiSettings(i int, s secrets) map[string]any {
	return map[string]any{
		"pvc.debug":                         false,
		"pvc.coordinators":                  o.coordinators(),
		"pvc.api.listen_address":            o.addr(i),
		"pvc.api.listen_port":               APIPort,
		"pvc.api.authentication.enabled":    true,
		"pvc.api.authentication.secret_key": s.SecretKey,
		"pvc.api.authentication.tokens":     []map[string]string{{"description": "testbed", "token": s.Token}},
		"pvc.api.ssl.enabled":               false,
		"pvc.api.vm_file_directories":       []string{o.shared(), "/var/lib/libvirt/images", "/var/log/libvirt"},
	}
}

// settings writes dotted keys as the nested mappings of a YAML file. Keys of
// over replace those of base.
func settings(base, over map[string]any) (string, error) {
	all := maps.Clone(base)
	maps.Copy(all, over)
	tree := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if err := put(tree, strings.Split(key, "."), all[key]); err != nil {
			return "", fmt.Errorf("setting %s: %w", key, err)
		}
	}
	b, err := yaml.Marshal(tree)
	return string(b), err
}

func put(tree map[string]any, path []string, value any) error {
	for _, name := range path[:len(path)-1] {
		sub, ok := tree[name]
		if !ok {
			sub = map[string]any{}
			tree[name] = sub
		}
		m, ok := sub.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is a value, not a section", name)
		}
		tree = m
	}
	name := path[len(path)-1]
	if _, ok := tree[name].(map[string]any); ok {
		return fmt.Errorf("%s is a section, not a value", name)
	}
	tree[name] = value
	return nil
}
