package rados

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// findOSD returns the entry of an OSD in the map.
func findOSD(conn *gorados.Conn, id int) (uuid string, in, up bool, err error) {
	m, err := readOSDMap(conn)
	if err != nil {
		return "", false, false, err
	}
	for _, o := range m.OSDs {
		if o.OSD == id {
			return o.UUID, o.In != 0, o.Up != 0, nil
		}
	}
	return "", false, false, ceph.Refused(syscall.ENOENT, fmt.Sprintf("osd.%d does not exist", id))
}

// SetOSDIn implements ceph.Calls.
func (c calls) SetOSDIn(ctx context.Context, id int, in bool) error {
	verb := "out"
	if in {
		verb = "in"
	}
	what := fmt.Sprintf("mark osd.%d %s", id, verb)
	_, err := call(ctx, c, what, short, changes, func(l *link, conn *gorados.Conn) (struct{}, error) {
		_, isIn, _, err := findOSD(conn, id)
		if err != nil {
			return struct{}{}, notSent{err}
		}
		if isIn != in {
			_, err = command{"prefix": "osd " + verb, "ids": []string{strconv.Itoa(id)}}.change(l, conn, nil)
		}
		return struct{}{}, err
	})
	return err
}

// identity is what an OSD that joins has to know.
type identity struct {
	id     int
	secret string
}

// NewOSD implements ceph.Calls.
func (c calls) NewOSD(ctx context.Context, uuid string) (int, string, error) {
	what := fmt.Sprintf("register a new OSD %s", uuid)
	made, err := call(ctx, c, what, short, changes, func(l *link, conn *gorados.Conn) (identity, error) {
		m, err := readOSDMap(conn)
		if err != nil {
			return identity{}, notSent{err}
		}
		for _, o := range m.OSDs {
			if o.UUID == uuid {
				return knownOSD(conn, o.OSD)
			}
		}
		return registerOSD(l, conn, uuid)
	})
	return made.id, made.secret, err
}

func knownOSD(conn *gorados.Conn, id int) (identity, error) {
	var key struct{ Key string }
	var keys []json.RawMessage
	if err := (command{"prefix": "auth get", "entity": "osd." + strconv.Itoa(id)}).ask(conn, &keys); err != nil {
		return identity{}, notSent{err}
	}
	if len(keys) != 1 || json.Unmarshal(keys[0], &key) != nil {
		return identity{}, errors.New("the answer is not one key")
	}
	return identity{id, key.Key}, nil
}

func registerOSD(l *link, conn *gorados.Conn, uuid string) (identity, error) {
	secret := newSecret()
	input, err := json.Marshal(map[string]string{"cephx_secret": secret})
	if err != nil {
		return identity{}, notSent{err}
	}
	cmd := command{"prefix": "osd new", "uuid": uuid}
	out, err := cmd.change(l, conn, input)
	if err != nil {
		return identity{}, err
	}
	var made struct {
		OSD *int `json:"osdid"`
	}
	if err := cmd.decode(out, &made); err != nil || made.OSD == nil {
		return identity{}, errs.New(errs.Unknown, "Ceph has not told the id of OSD %s: %w", uuid, err)
	}
	return identity{*made.OSD, secret}, nil
}

// newSecret returns a cephx key (CryptoKey): type AES, no creation time, 16 bytes.
func newSecret() string {
	const aes, size = 1, 16
	key := binary.LittleEndian.AppendUint16(nil, aes)
	key = append(key, make([]byte, 8)...) // seconds, nanoseconds
	key = binary.LittleEndian.AppendUint16(key, size)
	random := make([]byte, size)
	_, _ = rand.Read(random) // never fails
	return base64.StdEncoding.EncodeToString(append(key, random...))
}

// CrushAdd implements ceph.Calls.
func (c calls) CrushAdd(ctx context.Context, id int, weight float64, host string) error {
	what := fmt.Sprintf("place osd.%d at host %q", id, host)
	return command{"prefix": "osd crush add", "id": id, "weight": decimal(weight), "args": []string{"root=default", "host=" + host}}.do(ctx, c, what)
}

// SafeToDestroy implements ceph.Calls.
func (c calls) SafeToDestroy(ctx context.Context, id int) (bool, string, error) {
	what := fmt.Sprintf("ask whether osd.%d is safe to destroy", id)
	if _, err := call(ctx, c, what, short, reads, func(_ *link, conn *gorados.Conn) (struct{}, error) {
		_, _, _, err := findOSD(conn, id)
		return struct{}{}, err
	}); err != nil {
		return false, "", err
	}
	said, err := call(ctx, c, what, manage, reads, func(_ *link, conn *gorados.Conn) (safety, error) {
		var s safety
		err := command{"prefix": "osd safe-to-destroy", "ids": []string{strconv.Itoa(id)}}.askManager(conn, &s)
		if number := ceph.NumberOf(err); number == syscall.EBUSY || number == syscall.EAGAIN {
			return safety{why: err.Error()}, nil
		}
		return s, err
	})
	if err != nil {
		return false, "", err
	}
	safe, why := said.of(id)
	return safe, why, nil
}

// safety is the answer to `osd safe-to-destroy`.
type safety struct {
	Safe    []int `json:"safe_to_destroy"`
	Active  []int
	Missing []int `json:"missing_stats"`
	Stored  []int `json:"stored_pgs"`
	why     string
}

func (s safety) of(id int) (safe bool, why string) {
	switch {
	case s.why != "":
		return false, s.why
	case slices.Contains(s.Active, id):
		return false, fmt.Sprintf("osd.%d has placement groups mapped to it", id)
	case slices.Contains(s.Missing, id):
		return false, fmt.Sprintf("osd.%d has not reported its statistics", id)
	case slices.Contains(s.Stored, id):
		return false, fmt.Sprintf("osd.%d still stores placement groups", id)
	case slices.Contains(s.Safe, id):
		return true, ""
	}
	return false, fmt.Sprintf("Ceph does not say that osd.%d is safe to destroy", id)
}

// PurgeOSD implements ceph.Calls.
func (c calls) PurgeOSD(ctx context.Context, id int, uuid string) error {
	what := fmt.Sprintf("purge osd.%d (%s)", id, uuid)
	_, err := call(ctx, c, what, short, changes, func(l *link, conn *gorados.Conn) (struct{}, error) {
		now, _, up, err := findOSD(conn, id)
		switch {
		case err != nil:
			return struct{}{}, notSent{err}
		case !strings.EqualFold(now, uuid):
			return struct{}{}, notSent{errs.NotFoundf("osd.%d is %s now", id, now)}
		case up:
			return struct{}{}, notSent{ceph.Refused(syscall.EBUSY, fmt.Sprintf("osd.%d is not `down`.", id))}
		}
		_, err = command{"prefix": "osd purge-actual", "id": id, "yes_i_really_mean_it": true}.change(l, conn, nil)
		return struct{}{}, err
	})
	return err
}
