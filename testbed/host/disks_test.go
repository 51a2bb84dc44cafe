package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loopsOver are the files in a folder that the machine has under loop devices.
func loopsOver(t *testing.T, dir string) []string {
	t.Helper()
	blocks, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	var files []string
	for _, b := range blocks {
		if file, err := os.ReadFile(b); err == nil && strings.HasPrefix(string(file), dir+"/") {
			files = append(files, strings.TrimSpace(string(file)))
		}
	}
	return files
}

func TestDisksAreOfOneHostAndKeepTheirDataOverAPowerCut(t *testing.T) {
	sw, hosts := rig(t, 1)
	dir := hosts[0].Dir
	var with []*Host
	for i := 2; i <= 3; i++ {
		h := &Host{Name: strings.TrimSuffix(hosts[0].Name, "1") + string(rune('0'+i)), Index: i, Switch: sw,
			Dir: dir + string(rune('a'+i)), Disks: []int64{1 << 20, 3 << 20}}
		must(t, h.PowerOn(t.Context()))
		t.Cleanup(func() { must(t, h.PowerCut()) })
		execute(t, h, "sh", "-c", "hostname | dd of=/dev/sdc conv=fsync status=none")
		with = append(with, h)
	}
	for _, h := range with {
		if got := execute(t, h, "sh", "-c", "cd /dev; echo sd* $(ls | grep -c loop); blockdev --getsize64 sdb sdc; head -n 1 sdc"); got != "sdb sdc 2\n1048576\n3145728\n"+h.Name {
			t.Errorf("%s has %q", h.Name, got)
		}
	}
	if got := execute(t, hosts[0], "sh", "-c", "cd /dev; echo sd* loop*"); got != "sd* loop*" {
		t.Errorf("a host without disks has %q", got)
	}
	h := with[0]
	if node := execute(t, h, "readlink", "-f", "/dev/sdb"); execute(t, h, "lsblk", "-dno", "PATH", "/dev/sdb") != node {
		t.Errorf("/dev/sdb leads to %s, which the kernel calls otherwise", node)
	}
	// A process of the host that has the disk open does not outlive the power either.
	cmd, err := h.Command(t.Context(), "sh", "-c", "exec sleep 1000000 < /dev/sdb")
	must(t, err)
	must(t, cmd.Start())
	must(t, h.PowerCut())
	_ = cmd.Wait() // the power was cut
	within(t, "the loop devices of the host without power are free", func() bool { return len(loopsOver(t, h.Dir)) == 0 })
	if got := loopsOver(t, with[1].Dir); len(got) != 2 {
		t.Errorf("the other host has %v", got)
	}
	must(t, h.PowerOn(t.Context()))
	if got := execute(t, h, "head", "-n", "1", "/dev/sdc"); got != h.Name {
		t.Errorf("after the power cut %q stands on the disk", got)
	}
}

func TestTooManyDisksAreRefused(t *testing.T) {
	h := &Host{Name: "x", Dir: t.TempDir(), Disks: make([]int64, maxDisks+1)}
	if files, err := h.diskFiles(); err == nil {
		t.Errorf("files %v", files)
	}
}
