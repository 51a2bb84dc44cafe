package rados

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	gorados "github.com/ceph/go-ceph/rados"
	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// untilFormat is how Ceph writes the end of an entry.
const untilFormat = "2006-01-02T15:04:05.999999999Z0700"

// enoughFence is what an entry must still live to be as good as one of ours.
const enoughFence = ceph.FenceTime / 10

// Fence implements ceph.Calls.
func (c calls) Fence(ctx context.Context, clients []string) error {
	what := fmt.Sprintf("fence Ceph clients %q", clients)
	if err := ceph.CheckClients(clients); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err := call(ctx, c, what, short, changes, func(l *link, conn *gorados.Conn) (struct{}, error) {
		if err := notFenced(l, conn); err != nil {
			return struct{}{}, notSent{err}
		}
		return struct{}{}, fence(l, conn, clients)
	})
	return err
}

// fence enters all at once: one by one each would wait for a round of the monitors.
func fence(l *link, conn *gorados.Conn, clients []string) error {
	var all errgroup.Group
	for _, address := range clients {
		all.Go(func() error {
			_, err := blocklistCommand("add", address).send(conn, nil)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	if err := checkEntries(conn, clients); err != nil {
		return err
	}
	for _, own := range l.conns {
		all.Go(func() error { return refusal(own.WaitForLatestOSDMap(), "") })
	}
	return all.Wait()
}

// checkEntries reads back what was entered.
func checkEntries(conn *gorados.Conn, clients []string) error {
	entries, err := blocklist(conn)
	if err != nil {
		return err
	}
	for _, address := range clients {
		switch until, in := entries[address]; {
		case !in:
			return fmt.Errorf("client %q is not on the blocklist after it was entered", address)
		case time.Until(until) < enoughFence:
			return errs.Conflictf("client %q is on the blocklist already, until %s only", address, until.Format(time.RFC3339))
		}
	}
	return nil
}

func blocklistCommand(verb, address string) command {
	cmd := command{"prefix": "osd blocklist", "blocklistop": verb, "addr": address}
	if verb == "add" {
		cmd["expire"] = decimal(ceph.FenceTime.Seconds())
	}
	return cmd
}

// RemoveFence implements ceph.Calls.
func (c calls) RemoveFence(ctx context.Context, clients []string) error {
	what := fmt.Sprintf("end the fence of Ceph clients %q", clients)
	if err := ceph.CheckClients(clients); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err := call(ctx, c, what, short, changes, func(l *link, conn *gorados.Conn) (struct{}, error) {
		entries, err := blocklist(conn)
		if err != nil {
			return struct{}{}, notSent{err}
		}
		var all errgroup.Group
		for _, address := range clients {
			if _, in := entries[address]; !in {
				continue
			}
			all.Go(func() error {
				_, err := blocklistCommand("rm", address).change(l, conn, nil)
				return err
			})
		}
		return struct{}{}, all.Wait()
	})
	return err
}

// blocklist returns the addresses and until when they are listed.
func blocklist(conn *gorados.Conn) (map[string]time.Time, error) {
	out, err := command{"prefix": "osd blocklist ls"}.send(conn, nil)
	if err != nil {
		return nil, err
	}
	var list []struct{ Addr, Until string }
	// Since version 16.2.11 a second list follows, of ranges.
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&list); err != nil {
		return nil, fmt.Errorf("read Ceph's blocklist: %w", err)
	}
	entries := make(map[string]time.Time, len(list))
	for _, e := range list {
		address, err := plainAddress(e.Addr)
		if err != nil {
			continue // a range of addresses
		}
		if entries[address], err = time.Parse(untilFormat, e.Until); err != nil {
			return nil, fmt.Errorf("blocklist entry of %q: %w", e.Addr, err)
		}
	}
	return entries, nil
}

// allCutOff reports whether every one of the clients is on the blocklist, by itself or with
// its whole address.
func allCutOff(conn *gorados.Conn, clients []string) (bool, error) {
	entries, err := blocklist(conn)
	if err != nil {
		return false, err
	}
	for _, client := range clients {
		_, listed := entries[client]
		_, all := entries[client[:strings.LastIndexByte(client, ':')+1]+"0/0"]
		if !listed && !all {
			return false, nil
		}
	}
	return true, nil
}

// plainAddress returns "192.0.2.1:0/123" of "v2:192.0.2.1:0/123" or of a list with that
// element alone.
func plainAddress(text string) (string, error) {
	plain := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if strings.HasPrefix(text, "[") && !strings.HasPrefix(text, "[v") {
		plain = text // an IPv6 address
	}
	for _, version := range []string{"v1:", "v2:", "any:"} {
		plain = strings.TrimPrefix(plain, version)
	}
	return plain, ceph.CheckClient(plain)
}
