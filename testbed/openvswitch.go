package testbed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// TrunkBridge is the bridge of Open vSwitch that every host has with Options.OpenVSwitch:
// with the datapath in user space, which needs nothing of the kernel, and eth1 as its
// trunk.
const TrunkBridge = "br-trunk"

const (
	switchDB     = "/etc/openvswitch/conf.db"
	switchSocket = "/run/openvswitch/db.sock"
	switchSchema = "/usr/share/openvswitch/vswitch.ovsschema"
)

// firstSwitch is the transaction (RFC 7047) that makes the bridge in an empty database.
const firstSwitch = `["Open_vSwitch",
 {"op": "insert", "table": "Interface", "uuid-name": "inner", "row": {"name": "` + TrunkBridge + `", "type": "internal"}},
 {"op": "insert", "table": "Interface", "uuid-name": "outer", "row": {"name": "eth1"}},
 {"op": "insert", "table": "Port", "uuid-name": "local", "row": {"name": "` + TrunkBridge + `", "interfaces": ["named-uuid", "inner"]}},
 {"op": "insert", "table": "Port", "uuid-name": "trunk", "row": {"name": "eth1", "interfaces": ["named-uuid", "outer"]}},
 {"op": "insert", "table": "Bridge", "uuid-name": "bridge", "row": {"name": "` + TrunkBridge + `", "datapath_type": "netdev",
  "ports": ["set", [["named-uuid", "local"], ["named-uuid", "trunk"]]]}},
 {"op": "insert", "table": "Open_vSwitch", "row": {"bridges": ["named-uuid", "bridge"]}}]`

// addOpenVSwitch gives a host Open vSwitch. Its database is on the host's disk and stays
// there when the power goes.
func addOpenVSwitch(h *host.Host) error {
	h.Trunk = true
	h.Dirs = append(h.Dirs, filepath.Dir(switchSocket))
	h.Services = append([]host.Service{
		{Name: OVSDB, Log: "/var/log/ovsdb-server.log", Argv: []string{"/usr/sbin/ovsdb-server", "--remote=punix:" + switchSocket, "-vsyslog:off", switchDB}},
		{Name: OVSSwitch, Log: "/var/log/ovs-vswitchd.log", Argv: []string{"/usr/sbin/ovs-vswitchd", "-vsyslog:off", "unix:" + switchSocket}, After: switchSocket},
	}, h.Services...)
	file := h.Path(switchDB)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	for _, argv := range [][]string{{"create", file, switchSchema}, {"transact", file, firstSwitch}} {
		cmd := exec.Command("ovsdb-tool", argv...)
		cmd.WaitDelay = time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("make the database of Open vSwitch: %s: %w: %s", argv[0], err, out)
		}
	}
	return nil
}
