package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/testbed/guest"
)

// The volume of the Linux guest that writes.
const (
	pool      = "vms"
	volume    = linux + "_disk0"
	snapshot  = "first"
	sizeAtAll = "16M"
	sizeAfter = "32M"
	sectors   = "65536" // of sizeAfter
)

const storagePath = "/api/v1/storage/ceph"

// writePause is what passes between two records that the guest writes, milliseconds.
const writePause = 200

// disk is the volume as the guest's document names it.
func (s *show) disk() *guest.RBD {
	return &guest.RBD{Pool: pool, Image: volume, Monitors: []string{s.cluster.Host(1).Addr()}, User: "libvirt", Secret: s.cluster.GuestSecret()}
}

func (s *show) makeVolume(ctx context.Context) error {
	if err := s.post(ctx, storagePath+"/pool", "pool="+pool, "pgs=8"); err != nil {
		return err
	}
	if err := s.post(ctx, storagePath+"/volume", "pool="+pool, "volume="+volume, "size="+sizeAtAll); err != nil {
		return err
	}
	_, err := s.get(ctx, storagePath+"/volume?pool="+pool)
	return err
}

// snapshotAndGrow works on the volume while the guest writes to it.
func (s *show) snapshotAndGrow(ctx context.Context) error {
	if err := s.post(ctx, storagePath+"/volume/snapshot", "pool="+pool, "volume="+volume, "snapshot="+snapshot); err != nil {
		return err
	}
	if err := s.send(ctx, http.MethodPut, storagePath+"/volume/"+pool+"/"+volume, "size="+sizeAfter); err != nil {
		return err
	}
	if err := s.waitConsole(ctx, linux, func(text string) bool { return strings.Contains(text, "DISK vda "+sectors) }); err != nil {
		return err
	}
	if err := s.writesOn(ctx, 10); err != nil { // the new size is among them
		return err
	}
	for _, list := range []string{"/volume/snapshot?volume=" + volume, "/volume/" + pool + "/" + volume} {
		if _, err := s.get(ctx, storagePath+list); err != nil {
			return err
		}
	}
	return nil
}

// storageStatus shows the text of an answer that also has all of it as JSON.
func (s *show) storageStatus(ctx context.Context) error {
	body, err := s.getQuietly(ctx, storagePath+"/status")
	if err != nil {
		return err
	}
	var answer struct {
		Text string         `json:"ceph_data"`
		Data map[string]any `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("status of storage: %w: %s", err, body)
	}
	if !strings.Contains(answer.Text, "HEALTH") || len(answer.Data) == 0 {
		return fmt.Errorf("status of storage: %s", body)
	}
	fmt.Fprintf(s.out, "  its ceph_data (%d bytes in all, the same as JSON in its data):\n", len(body))
	s.lines(answer.Text)
	return nil
}

// moveWriter moves the guest that writes to another host.
func (s *show) moveWriter(ctx context.Context) error {
	node := "/api/v1/vm/" + linux + "/node"
	if err := s.post(ctx, node, "action=move", "node="+s.cluster.Host(1).Name, "wait=True"); err != nil {
		return err
	}
	if _, err := s.get(ctx, node); err != nil {
		return err
	}
	return s.writesOn(ctx, 4)
}

// writesOn waits until the Linux guest has written more to its volume since the last
// look, shows its console, and fails if it began anew.
func (s *show) writesOn(ctx context.Context, lines int) error {
	before := s.written
	err := s.waitConsole(ctx, linux, func(text string) bool { n, _ := lastRecord(text); return n >= before+3 })
	if err != nil {
		return err
	}
	text, err := s.console(ctx, linux, lines)
	if err != nil {
		return err
	}
	n, boot := lastRecord(text)
	if n <= before || s.boot != "" && boot != s.boot {
		return fmt.Errorf("the guest has begun anew: it had written %d records after boot %s, now its console says %q", before, s.boot, text)
	}
	if before > 0 {
		fmt.Fprintf(s.out, "  it went on writing: record %d, now %d\n", before, n)
	}
	s.written, s.boot = n, boot
	return nil
}

var recordLine = regexp.MustCompile(`SEQ ([0-9a-f-]{36}) (\d+)\r?\n`)

// lastRecord is the last record that a console tells of and the boot that it belongs to.
func lastRecord(text string) (n int, boot string) {
	all := recordLine.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return 0, ""
	}
	last := all[len(all)-1]
	n, _ = strconv.Atoi(last[2]) // digits; one too large is no number of this guest
	return n, last[1]
}
