//go:build gates

package app

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/vmctl"
)

// gateDir is where a fault test holds this daemon. Before it carries out a step of a
// VM, and at each step of a command of storage, the daemon looks for <dir>/<step>.hold; if there is one it makes <step>.reached
// and waits until the hold is gone. Only daemons built for fault tests have gates.
const gateDir = "/run/pvc/gates"

func gate(_ string, a vmctl.Action) { hold(strings.ReplaceAll(a.Step.String(), " ", "-")) }

func hold(step string) {
	name := filepath.Join(gateDir, step)
	for held := false; ; held = true {
		if _, err := os.Stat(name + ".hold"); err != nil {
			return
		}
		if !held {
			_ = os.WriteFile(name+".reached", nil, 0o600) // the test misses it and says so
		}
		time.Sleep(5 * time.Millisecond)
	}
}
