package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/config"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/vmctl"
)

// guestStorage is what the guests of this host need of Ceph: its images, and a key in
// the hypervisor with which to open them.
type guestStorage struct {
	ceph.Calls
	hypervisor hypervisor.Hypervisor
	config     config.Ceph
	log        *slog.Logger
}

// guestStorage is nil if this host does not look after storage.
func (d *daemon) guestStorage() vmctl.Storage {
	if d.storage == nil {
		return nil
	}
	return d.storage.guests(d)
}

func (s *storage) guests(d *daemon) *guestStorage {
	return &guestStorage{Calls: s.cluster, hypervisor: d.hypervisor, config: d.config.Ceph, log: d.log.Logger}
}

// Ready implements vmctl.Storage: the OSD map comes from a monitor.
func (g *guestStorage) Ready(ctx context.Context) error {
	if _, err := g.Flags(ctx); err != nil {
		return errs.New(errs.KindOf(err), "Ceph's monitors do not let a new client in: %w", err)
	}
	return nil
}

// Key implements vmctl.Storage. The keyring is read each time: keys are exchanged while
// the daemon runs.
func (g *guestStorage) Key(ctx context.Context) error {
	if g.config.SecretUUID == "" {
		return nil // the administrator's affair
	}
	file := g.config.GuestKeyringFile()
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return errs.NotFoundf("the key of client.%s: %w", g.config.GuestUser, err)
	} else if err != nil {
		return err
	}
	key, err := keyOf(data, "client."+g.config.GuestUser)
	if err != nil {
		return errs.New(errs.KindOf(err), "keyring %s: %w", file, err)
	}
	return g.hypervisor.SetSecret(ctx, hypervisor.Secret{UUID: g.config.SecretUUID, User: g.config.GuestUser, Key: key})
}

// keyRetry is how long after a failure the key is tried again.
const keyRetry = 5 * time.Second

// Run gives the hypervisor the key whenever it may have lost it. Guests that are started
// meanwhile do not depend on it: each start sees to the key itself.
func (g *guestStorage) Run(ctx context.Context) error {
	lost := make(chan struct{}, 1)
	cancel := g.hypervisor.Subscribe(func(e hypervisor.Event) {
		if e.Kind == hypervisor.EventResync {
			select {
			case lost <- struct{}{}:
			default:
			}
		}
	})
	defer cancel()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for failing := false; ; {
		select {
		case <-lost:
		case <-retry.C:
		case <-ctx.Done():
			return nil
		}
		err := g.Key(ctx)
		if err != nil && ctx.Err() == nil {
			retry.Reset(keyRetry)
			if !failing {
				g.log.Warn("libvirt does not have the key of the guests' Ceph user", "err", err)
			}
		}
		failing = err != nil
	}
}

// keyOf finds a user's key in the text of a keyring and decodes it. No error holds a part
// of the text.
func keyOf(keyring []byte, user string) ([]byte, error) {
	section := ""
	for lines := bufio.NewScanner(bytes.NewReader(keyring)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSpace(strings.TrimSuffix(name, "]"))
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || section != user || strings.TrimSpace(name) != "key" {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(strings.Trim(strings.TrimSpace(value), `"`))
		if err != nil || len(key) == 0 {
			return nil, errs.Invalidf("the key of %s is not in base64", user)
		}
		return key, nil
	}
	return nil, errs.NotFoundf("no key of %s", user)
}
