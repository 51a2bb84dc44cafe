package nets

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/parallelvirtualcluster/pvc/testbed"
)

// holders looks from outside, all the time, at which hosts have an address.
type holders struct {
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	looks   int
	twice   []string
	present []string // at the last look
}

// watchHolders begins to look; the test fails at its end if two hosts ever had one of
// the addresses.
func watchHolders(t testing.TB, addresses ...string) *holders {
	t.Helper()
	w := &holders{stop: make(chan struct{})}
	handles := map[string]*netlink.Handle{}
	for _, h := range cluster.Hosts() {
		pid, err := h.PID(t.Context(), testbed.Libvirtd)
		must(t, err)
		ns, err := netns.GetFromPid(pid)
		must(t, err)
		handle, err := netlink.NewHandleAt(ns)
		must(t, err)
		must(t, ns.Close())
		handles[h.Name] = handle
	}
	w.done.Go(func() {
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(5 * time.Millisecond):
				w.look(handles, addresses)
			}
		}
	})
	t.Cleanup(func() {
		close(w.stop)
		w.done.Wait()
		for _, handle := range handles {
			handle.Close()
		}
		if w.looks < 100 {
			t.Errorf("only %d looks", w.looks)
		}
		for _, what := range w.twice {
			t.Error(what)
		}
	})
	return w
}

// look counts an address as held twice if two hosts have it that were asked one after
// the other and again: it may have moved between two questions.
func (w *holders) look(handles map[string]*netlink.Handle, addresses []string) {
	first, second := have(handles), have(handles)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	w.present = nil
	for _, a := range addresses {
		var both []string
		for name := range handles {
			if first[name][a] && second[name][a] {
				both = append(both, name)
				w.present = append(w.present, a+" on "+name)
			}
		}
		if len(both) > 1 && len(w.twice) < 5 {
			w.twice = append(w.twice, fmt.Sprintf("%s is on %s at once", a, strings.Join(both, " and ")))
		}
	}
}

// now is where the addresses are.
func (w *holders) now() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.present, ", ")
}

func have(handles map[string]*netlink.Handle) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for name, handle := range handles {
		out[name] = map[string]bool{}
		addrs, err := handle.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			continue // a host without power
		}
		for _, a := range addrs {
			if ip, ok := netip.AddrFromSlice(a.IP); ok {
				out[name][ip.Unmap().String()] = true
			}
		}
	}
	return out
}
