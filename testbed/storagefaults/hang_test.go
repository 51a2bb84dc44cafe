package storagefaults

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
)

// What is promised while Ceph hangs: a storage call says so in silent, with what the API
// adds; VMs are not delayed.
const (
	silent  = 10 * time.Second
	around  = 2 * time.Second // API, queue and a busy machine
	noDelay = 10 * time.Second
)

// diskless is a guest that waits for nothing, without disks.
const diskless = `<domain type='qemu'><name>sf-guest</name><uuid>5f0f8e5e-91c2-4d53-9b6c-6b44d2c2a7f1</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>`

// timed sends a call once and says how long the answer took. No answer is status 0.
func timed(t testing.TB, c call) (answer, time.Duration) {
	t.Helper()
	begin := time.Now()
	got, err := c.once(bounded(t))
	if err != nil {
		t.Errorf("%v: %v", c, err)
	}
	return got, time.Since(begin)
}

// TestAMonitorThatHangsIsSaidAndHoldsUpNobodyElse stops Ceph's only monitor for a while.
func TestAMonitorThatHangsIsSaidAndHoldsUpNobodyElse(t *testing.T) {
	ready(t)
	const vm = "/vm/sf-guest"
	list := acts("-hung")
	prepared(t, list)
	call{http.MethodPost, "/vm", []string{"xml", diskless, "node", primary(t).Name}, ""}.do(t)
	t.Cleanup(func() {
		call{http.MethodPost, vm + "/state", []string{"state", "stop", "wait", "true"}, ""}.do(t)
		call{http.MethodDelete, vm, nil, ""}.do(t)
	})

	monitor := cluster.Host(1)
	must(t, monitor.Pause(bounded(t), testbed.CephMon))
	goOn := sync.OnceFunc(func() { must(t, monitor.Cont(context.WithoutCancel(t.Context()), testbed.CephMon)) })
	t.Cleanup(goOn)
	var under sync.WaitGroup
	for _, a := range list {
		under.Go(func() { isSilent(t, a.call) })
	}
	under.Go(func() {
		for _, c := range []call{
			{http.MethodPost, vm + "/state", []string{"state", "start", "wait", "true"}, ""},
			{http.MethodPost, vm + "/state", []string{"state", "stop", "wait", "true"}, ""},
			{http.MethodPost, "/network", []string{"vni", "391", "description", "sf-net", "nettype", "bridged"}, ""},
			{http.MethodGet, "/network", nil, ""},
			{http.MethodDelete, "/network/391", nil, ""},
			{http.MethodGet, "/node", nil, ""},
		} {
			if got, took := timed(t, c); got.status != http.StatusOK || took > noDelay {
				t.Errorf("%v %v: %d %s after %v", c, c.values[:min(2, len(c.values))], got.status, got.text, took)
			}
		}
	})
	under.Wait()

	goOn()
	made := add("after-hung", "8M")
	within(t, reconciled, "storage commands go on", func() string {
		if got, _ := timed(t, made); got.status != http.StatusOK {
			return fmt.Sprint(got)
		}
		return ""
	})
	agree(t, reconciled)
	if loose := remains(t, pool); len(loose) > 0 {
		t.Errorf("half images: %v", loose)
	}
}

// isSilent is a storage call that has to say in time that Ceph does.
func isSilent(t testing.TB, c call) {
	t.Helper()
	got, took := timed(t, c)
	says := got.status == http.StatusNotExtended || got.status == http.StatusServiceUnavailable
	if !says || !strings.Contains(got.text, "Ceph") || took > silent+around {
		t.Errorf("%v: %d %s after %v", c, got.status, got.text, took)
	}
}
