package ceph

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What Config leaves open.
const (
	DefaultOSDs    = 3
	DefaultCopies  = 2
	DefaultOSDSize = 4 << 30 // bytes; of a sparse file
)

// Config describes a cluster as one of its hosts sees it. Hosts differ in nothing
// but Addr.
type Config struct {
	FSID    string
	MonAddr string // IP address of the monitor and the manager
	Addr    string // IP address of the host whose configuration this is
	// Root is put before every path: the folder of a cluster that shares its file
	// system with others, empty on a host that has folders of its own.
	Root string
	// Hosts are the names of the hosts in the CRUSH map. OSD i is on host i modulo
	// their number.
	Hosts   []string
	OSDs    int
	Copies  int               // of each object; one is enough to go on
	OSDSize int64             // bytes of an OSD's device
	Extra   map[string]string // settings for all daemons and clients, over those of Text
}

// Paths of a cluster's files, before Root is put before them: those that Debian's
// packages have.
const (
	ConfPath    = "/etc/ceph/ceph.conf"
	dataPath    = "/var/lib/ceph"
	RunPath     = "/run/ceph"
	LogPath     = "/var/log/ceph"
	monPort     = "3300"
	legacyPort  = "6789"
	managerPath = "/usr/share/ceph/mgr"
)

// KeyringPath is where clients look for the key of an entity, as client.admin.
func KeyringPath(entity string) string { return "/etc/ceph/ceph." + entity + ".keyring" }

// BootstrapPath is where ceph-volume looks for the key with which it makes OSDs.
const BootstrapPath = dataPath + "/bootstrap-osd/ceph.keyring"

// DataPath is the folder of a daemon, as mon.a or osd.0.
func DataPath(daemon string) string {
	kind, id, _ := strings.Cut(daemon, ".")
	return filepath.Join(dataPath, kind, "ceph-"+id)
}

// unused are modules of the manager that nothing here needs: each costs time at the
// start, and memory.
const unused = "alerts dashboard diskprediction_local influx insights iostat k8sevents localpool mds_autoscaler mirroring nfs " +
	"osd_perf_query osd_support prometheus restful rook selftest snap_schedule stats telegraf test_orchestrator zabbix"

// pair is a setting with its value.
type pair struct{ name, value string }

// Text is the content of ceph.conf.
func (c Config) Text() string {
	var b strings.Builder
	section := func(name string, settings []pair) {
		fmt.Fprintf(&b, "[%s]\n", name)
		for _, s := range settings {
			fmt.Fprintf(&b, "%s = %s\n", s.name, s.value)
		}
	}
	section("global", append(c.global(), c.extra()...))
	section("client", []pair{
		{"keyring", c.path(KeyringPath("$name"))},
		{"admin socket", ""},
		{"log file", ""},
	})
	section("mon", c.monitor())
	section("mgr", []pair{
		{"public addr", c.MonAddr},
		{"mgr data", c.path(DataPath("mgr.$id"))},
		{"keyring", "$mgr_data/keyring"},
		{"mgr module path", managerPath},
		{"mgr disabled modules", unused},
		{"mgr tick period", "1"},
		{"mgr stats period", "1"},
	})
	section("osd", c.osd())
	return b.String()
}

func (c Config) global() []pair {
	return []pair{
		{"fsid", c.FSID},
		{"mon host", c.monHost()},
		{"auth cluster required", "cephx"},
		{"auth service required", "cephx"},
		{"auth client required", "cephx"},
		{"run dir", c.path(RunPath)},
		{"admin socket", c.path(RunPath) + "/$name.asok"},
		{"log file", c.path(LogPath) + "/$name.log"},
		{"crash dir", c.path(dataPath) + "/crash"},
		{"ms async op threads", "2"},
		// A client that finds no monitor asks again after 3 s otherwise.
		{"mon client hunt interval", "0.3"},
		// The monitor judges by the grace too.
		{"osd heartbeat interval", "2"},
		{"osd heartbeat grace", "8"},
		{"osd pool default size", fmt.Sprint(c.Copies)},
		{"osd pool default min size", "1"},
		{"osd pool default pg num", "8"},
		{"osd pool default pgp num", "8"},
		{"osd pool default pg autoscale mode", "off"},
		{"osd crush chooseleaf type", fmt.Sprint(int(c.failureDomain()))},
		{"rbd default features", "61"}, // all but journaling and those of old kernels
	}
}

func (c Config) monitor() []pair {
	return []pair{
		{"public addr", c.MonAddr},
		{"mon data", c.path(DataPath("mon.$id"))},
		{"keyring", "$mon_data/keyring"},
		{"mon cluster log file", c.path(LogPath) + "/cluster.log"},
		{"mon initial members", "a"},
		{"mon allow pool delete", "true"},
		{"mon allow pool size one", "true"},
		{"mon warn on pool no redundancy", "false"},
		// The disk of the machine is not the cluster's concern.
		{"mon data avail warn", "2"},
		{"mon data avail crit", "1"},
		{"mon max pg per osd", "1000"},
		{"auth allow insecure global id reclaim", "false"},
		{"paxos propose interval", "0.05"},
		{"mon tick interval", "1"},
		{"mon mgr digest period", "1"},
		{"mgr initial modules", ""},
		// With two OSDs nobody but one peer can report the other.
		{"mon osd min down reporters", "1"},
		{"mon osd adjust heartbeat grace", "false"},
		{"mon osd down out interval", "600"},
	}
}

func (c Config) osd() []pair {
	return []pair{
		{"public addr", c.Addr},
		{"cluster addr", c.Addr},
		{"osd data", c.path(DataPath("osd.$id"))},
		{"keyring", "$osd_data/keyring"},
		{"osd objectstore", "bluestore"},
		// The testbed's CRUSH map is complete from the beginning.
		{"osd crush update on start", "false"},
		{"osd class update on start", "false"},
		{"osd memory target", "939524096"}, // the least that is allowed
		{"osd op num shards", "1"},
		{"osd op num threads per shard", "2"},
		{"osd mon report interval", "1"},
		{"osd pg stat report interval max", "2"},
		{"osd max backfills", "4"},
		{"osd recovery sleep", "0"},
		{"osd scrub sleep", "0"},
		{"bluestore block create", "true"},
		{"bluestore block size", fmt.Sprint(c.OSDSize)},
		{"bluestore block db create", "false"},
		{"bluestore block wal create", "false"},
		{"bluestore cache autotune", "false"},
		{"bluestore cache size", "67108864"},
		{"bluestore fsck on mount", "false"},
		{"bdev aio poll ms", "10"},
	}
}

// extra are the settings that the caller has asked for: the later of two counts.
func (c Config) extra() []pair {
	var all []pair
	for _, name := range slices.Sorted(maps.Keys(c.Extra)) {
		all = append(all, pair{name, c.Extra[name]})
	}
	return all
}

func (c Config) monHost() string {
	return fmt.Sprintf("[v2:%[1]s:%[2]s,v1:%[1]s:%[3]s]", c.MonAddr, monPort, legacyPort)
}

func (c Config) path(p string) string { return filepath.Join("/", c.Root, p) }

// Daemons are the names of all daemons, the monitor first.
func (c Config) Daemons() []string {
	all := []string{"mon.a", "mgr.x"}
	for i := range c.OSDs {
		all = append(all, fmt.Sprintf("osd.%d", i))
	}
	return all
}

// HostOfDaemon is the number, counted from 0, of the host that a daemon is on.
func (c Config) HostOfDaemon(daemon string) int {
	kind, id, _ := strings.Cut(daemon, ".")
	if kind != "osd" {
		return 0
	}
	osd, err := strconv.Atoi(id)
	if err != nil {
		return 0 // none of ours
	}
	return osd % len(c.Hosts)
}

// Command is the argument vector that runs a daemon in the foreground, as root.
func (c Config) Command(daemon string) []string {
	kind, id, _ := strings.Cut(daemon, ".")
	return []string{"/usr/bin/ceph-" + kind, "-f", "-c", c.path(ConfPath), "-i", id}
}

// Missing says what has to be installed before a cluster can run, "" if nothing.
func Missing() string {
	for _, program := range [][2]string{
		{"ceph-mon", "ceph-mon"}, {"ceph-mgr", "ceph-mgr"}, {"ceph-osd", "ceph-osd"}, {"ceph", "ceph-common"},
		{"rbd", "ceph-common"}, {"monmaptool", "ceph-base"}, {"osdmaptool", "ceph-base"}, {"crushtool", "ceph-base"},
	} {
		if _, err := exec.LookPath(program[0]); err != nil {
			return fmt.Sprintf("%s is missing (Debian package %s)", program[0], program[1])
		}
	}
	return ""
}
