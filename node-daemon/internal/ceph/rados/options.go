package rados

import (
	"log/slog"
	"strconv"
	"time"
)

// Options configure a Cluster.
type Options struct {
	Conf    string // Ceph's configuration file; empty: where Ceph looks for it
	User    string // without "client."; empty: admin
	Keyring string // its keys; empty: where the configuration says
	Logger  *slog.Logger
	// Step, for fault tests, is called with "ceph " and its name right before a command
	// that changes something is sent to a monitor, when all looks are behind it.
	Step func(step string)
}

const (
	// monTimeout is after which librados drops a command that no monitor has answered: it
	// must not be carried out when a monitor comes back an hour later.
	monTimeout = 8 * time.Second
	// osdTimeout is after which librados gives up an operation that no OSD has answered.
	// It is longer than a caller waits, because an OSD that is slow is not gone.
	osdTimeout = 30 * time.Second

	maxShort = 64 // calls at the same time
	maxLong  = 8
	maxAsk   = 8
	maxHung  = 32 // calls that were left alone, before further ones fail at once

	listParallel = 16 // images opened at the same time for a list
)

// purpose is what a connection is used for.
type purpose uint8

const (
	short  purpose = iota // monitor commands, short work on images
	long                  // long work on images
	manage                // reads from the manager
)

// settings returns the options of librados for a connection.
func (p purpose) settings(o Options) map[string]string {
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }
	s := map[string]string{
		"client_mount_timeout": seconds(monTimeout),
		"rados_osd_op_timeout": seconds(osdTimeout),
		"rados_mon_op_timeout": seconds(monTimeout),
		"admin_socket":         "", // three clients of one process cannot share its name
		"log_to_stderr":        "false",
		"err_to_stderr":        "false",
		"log_file":             "",
	}
	if o.Keyring != "" {
		s["keyring"] = o.Keyring
	}
	if p == manage {
		// librados leaves its waiting place on the stack when this time is over, and the
		// manager's late answer writes to it.
		s["rados_mon_op_timeout"] = "0"
	}
	return s
}

// managerPatience is how long statistics are waited for that are not needed.
const managerPatience = 3 * time.Second
