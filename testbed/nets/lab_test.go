package nets

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/host"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

// users is the cluster as its users see it.
var users *lab.Lab

func must(t testing.TB, err error) { t.Helper(); lab.Must(t, err) }

func within(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	lab.Within(t, limit, what, check)
}

func ask(t testing.TB, method, path string, values ...string) (status int, body string) {
	t.Helper()
	return users.Ask(t, method, path, values...)
}

func do(t testing.TB, method, path string, values ...string) string {
	t.Helper()
	return users.Do(t, method, path, values...)
}

func list[T any](t testing.TB, path string) []T {
	t.Helper()
	return lab.List[T](users, t, path)
}

func start(t testing.TB, name, bridge string, on *host.Host, mac, args string) *lab.Machine {
	t.Helper()
	return users.Start(t, name, bridge, on, mac, args)
}

// primary waits for a primary.
func primary(t testing.TB) (p *host.Host) {
	t.Helper()
	within(t, deadline, "a primary", func() error {
		p = nil
		if h := holder(t); h != nil {
			p = h
			return nil
		}
		return errors.New("there is none")
	})
	return p
}

// holder is the primary now, nil if there is none.
func holder(t testing.TB) *host.Host {
	t.Helper()
	var answer struct {
		Primary string `json:"primary_node"`
	}
	must(t, json.Unmarshal([]byte(do(t, http.MethodGet, "/status/primary_node")), &answer))
	for _, h := range cluster.Hosts() {
		if h.Name == answer.Primary {
			return h
		}
	}
	return nil
}

func secondary(t testing.TB) *host.Host {
	t.Helper()
	p := primary(t)
	return cluster.Host(p.Index%len(cluster.Coordinators()) + 1)
}

// network makes a managed network that the test removes.
func network(t testing.TB, vni, description string, values ...string) {
	t.Helper()
	do(t, http.MethodPost, "/network", append([]string{"vni", vni, "description", description, "nettype", "managed"}, values...)...)
	t.Cleanup(func() { do(t, http.MethodDelete, "/network/"+vni) })
}

// allRun waits until every daemon runs.
func allRun(t testing.TB) {
	t.Helper()
	within(t, deadline, "all hosts run", func() error {
		for _, n := range list[struct {
			Name  string `json:"name"`
			State string `json:"daemon_state"`
		}](t, "/node") {
			if n.State != "run" {
				return fmt.Errorf("%s is in state %s", n.Name, n.State)
			}
		}
		return nil
	})
}
