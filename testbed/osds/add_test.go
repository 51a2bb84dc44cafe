package osds

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

func TestDevicesThatAreUsedAreRefused(t *testing.T) {
	h := cluster.Host(2)
	disk := host.DiskPath(0)
	clean := func() { on(t, h, "wipefs", "--all", "--quiet", disk) }
	for _, tt := range []struct {
		name, device string
		use          [][]string
		undo         [][]string
		reason       string
	}{
		{"no such device", "/dev/sdx", nil, nil, "is not a block device of this host"},
		{"not a block device", "/dev/null", nil, nil, "is not a block device of this host"},
		{"a folder", "/dev/shm", nil, nil, "is not a block device of this host"},
		{"a file system", disk, [][]string{{"mkfs.ext4", "-q", disk}}, nil, "holds data (ext4 at 0x438)"},
		{"mounted", disk, [][]string{{"mkfs.ext4", "-q", disk}, {"mkdir", "-p", "/run/m"}, {"mount", "-o", "ro,noload", disk, "/run/m"}}, [][]string{{"umount", "/run/m"}}, "is mounted at /run/m"},
		{"swap", disk, [][]string{{"mkswap", disk}}, nil, "holds data (swap at "},
		{"partitions", disk, [][]string{
			write(disk, 446, `\0\0\0\0\203\0\0\0\0\010\0\0\0\0\001\0`), write(disk, 510, `\125\252`),
		}, nil, "holds data (dos at 0x1fe)"},
		{"another OSD", disk, [][]string{write(disk, 0, `bluestore block device\n11111111-2222-3333-4444-555555555555\n`)}, [][]string{{"dd", "if=/dev/zero", "of=" + disk, "bs=4096", "count=1", "conv=notrunc,fsync", "status=none"}},
			"is the disk of the OSD with the uuid 11111111-2222-3333-4444-555555555555"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, argv := range tt.use {
				on(t, h, argv...)
			}
			before := ""
			if tt.device == disk {
				before = sum(t, h, disk)
			}
			_, err := do(t, h, adding(h, tt.device))
			if err == nil || !strings.Contains(err.Error(), tt.reason) || !strings.Contains(err.Error(), "device "+tt.device+" ") {
				t.Errorf("%v; %q was expected", err, tt.reason)
			}
			if tt.device == disk && sum(t, h, disk) != before {
				t.Error("the refused device was changed")
			}
			for _, argv := range tt.undo {
				on(t, h, argv...)
			}
			clean()
		})
	}
	gone(t, h, disk)
}

// sum is a checksum of the beginning of a device.
func sum(t testing.TB, h *host.Host, device string) string {
	t.Helper()
	return on(t, h, "sh", "-c", "head -c 4M "+device+" | sha256sum")
}

// write is a command that writes bytes, as printf(1) takes them, to a device.
func write(device string, at int, bytes string) []string {
	return []string{"sh", "-c", fmt.Sprintf("printf '%s' | dd of=%s bs=1 seek=%d conv=notrunc,fsync status=none", bytes, device, at)}
}

// TestALifeOfAnOSD: the steps need each other.
func TestALifeOfAnOSD(t *testing.T) {
	h, disk := cluster.Host(1), host.DiskPath(1)
	args := adding(h, disk)
	var id int
	step := func(name string, fn func(t *testing.T)) {
		t.Helper()
		if !t.Run(name, fn) {
			t.FailNow()
		}
	}
	step("ItIsMade", func(t *testing.T) {
		id = add(t, h, args)
		serves(t, id, h, args)
		if r := record(id); r == nil || r.Node != h.Name || r.Device != disk || r.Stats == nil || r.Stats.UUID != args.UUID {
			t.Errorf("record %+v", r)
		}
	})
	step("ItHoldsData", func(t *testing.T) {
		within(t, "placement groups on it", func() string {
			if out := on(t, h, "ceph", "pg", "ls-by-osd", fmt.Sprint(id)); !strings.Contains(out, "active") {
				return out
			}
			return ""
		})
		healthy(t)
	})
	step("ItsKeyIsNobodyElsesToRead", func(t *testing.T) {
		key := on(t, h, "ceph", "auth", "print-key", fmt.Sprintf("osd.%d", id))
		if mode := on(t, h, "stat", "-c", "%a", fmt.Sprintf("/var/lib/ceph/osd/ceph-%d/keyring", id)); mode != "600" {
			t.Errorf("mode %s", mode)
		}
		if log := on(t, h, "cat", "/var/log/pvcd.log"); strings.Contains(log, key) {
			t.Error("the key is in the log of pvcd")
		}
	})
	step("ItIsNotMadeTwice", func(t *testing.T) {
		_, err := do(t, h, adding(h, disk))
		if err == nil || !strings.Contains(err.Error(), "is the disk of the OSD with the uuid "+args.UUID) {
			t.Error(err)
		}
		serves(t, id, h, args)
	})
	step("ItIsThereAfterAPowerCut", func(t *testing.T) {
		three := cluster.Host(3) // without the monitor
		other := adding(three, host.DiskPath(0))
		second := add(t, three, other)
		must(t, three.PowerCut())
		within(t, "it is down", func() string {
			if osds(t)[second].Up != 0 {
				return "up"
			}
			return ""
		})
		must(t, three.PowerOn(t.Context()))
		serves(t, second, three, other)
		ready(t)
		_, err := do(t, three, command.OSDRemove{OSD: second, Force: true})
		must(t, err)
	})
	step("AnotherHostDoesNotRemoveIt", func(t *testing.T) {
		_, err := do(t, cluster.Host(2), command.OSDRemove{OSD: id, Force: true})
		if err == nil || !strings.Contains(err.Error(), "its disk is in host "+h.Name) {
			t.Error(err)
		}
		serves(t, id, h, args)
	})
	step("ItIsRemovedWhileAClientWrites", func(t *testing.T) {
		healthy(t)
		w := startWriter(t, cluster.Host(3))
		result, err := do(t, h, command.OSDRemove{OSD: id})
		must(t, err)
		if strings.Contains(result.Message, "not erased") {
			t.Error(result.Message)
		}
		w.stop(t)
		gone(t, h, disk)
		healthy(t)
	})
	step("ItsDiskCanBeUsedAgain", func(t *testing.T) {
		again := adding(h, disk)
		id = add(t, h, again)
		serves(t, id, h, again)
		_, err := do(t, h, command.OSDRemove{OSD: id, Force: true})
		must(t, err)
		gone(t, h, disk)
	})
}

func TestAnOSDThatDoesNotComeUpIsUndone(t *testing.T) {
	if !long {
		t.Skip("the daemon waits 3 minutes for it: PVC_TEST_LONG")
	}
	h, disk := cluster.Host(2), host.DiskPath(0)
	on(t, h, "ceph", "osd", "set", "noup")
	t.Cleanup(func() { on(t, h, "ceph", "osd", "unset", "noup") })
	_, err := do(t, h, adding(h, disk))
	if err == nil || !strings.Contains(err.Error(), "has not come up within") || !strings.Contains(err.Error(), "everything was undone") {
		t.Error(err)
	}
	gone(t, h, disk)
}

func ready(t testing.TB) {
	t.Helper()
	within(t, "the cluster is ready", func() string {
		if err := cluster.WaitReady(t.Context()); err != nil {
			return err.Error()
		}
		return ""
	})
}

// writer is a client that writes objects, each once.
type writer struct {
	h    *host.Host
	end  chan struct{}
	done chan int // how many were acknowledged
}

func object(n int) string { return fmt.Sprintf("object %d", n) }

// startWriter starts one; it returns when the first object is written.
func startWriter(t testing.TB, h *host.Host) *writer {
	t.Helper()
	w := &writer{h, make(chan struct{}), make(chan int, 1)}
	begun := make(chan error, 1)
	go func() { // stop waits for it
		for n := 0; ; n++ {
			select {
			case <-w.end:
				w.done <- n
				return
			default:
			}
			_, err := h.Exec(t.Context(), "sh", "-c", fmt.Sprintf("printf '%[1]s' | rados --pool vms put '%[1]s' -", object(n)))
			if n == 0 {
				begun <- err
			}
			if err != nil {
				w.done <- n
				return
			}
		}
	}()
	must(t, <-begun)
	return w
}

// stop ends it and reads everything back that was acknowledged.
func (w *writer) stop(t testing.TB) {
	t.Helper()
	select {
	case n := <-w.done:
		t.Fatalf("the client could write %d objects only", n)
	default:
	}
	close(w.end)
	n := <-w.done
	t.Logf("%d objects were written", n)
	for i := range n {
		if i%10 != 0 && i != n-1 { // each takes a tenth of a second
			continue
		}
		if got := on(t, w.h, "rados", "--pool", "vms", "get", object(i), "-"); got != object(i) {
			t.Error(errors.New(object(i)), got)
		}
	}
}
