package ceph

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Users that every cluster has, beside its daemons.
const (
	Admin     = "client.admin"
	PVC       = "client.pvc"           // pvcd
	Libvirt   = "client.libvirt"       // guests
	bootstrap = "client.bootstrap-osd" // ceph-volume
)

// Keys are the secrets of a cluster's daemons and users, by entity name.
type Keys map[string]string

// NewKeys makes a key for every entity of the cluster.
func (c Config) NewKeys() Keys {
	keys := Keys{}
	for _, entity := range []string{"mon.", "mgr.x", Admin, PVC, Libvirt, bootstrap} {
		keys[entity] = newKey()
	}
	for i := range c.OSDs {
		keys[fmt.Sprintf("osd.%d", i)] = newKey()
	}
	return keys
}

// newKey is a cephx key as ceph-authtool prints it: the type (1, AES), the time at
// which it was made, the length of the secret and the secret, little endian.
func newKey() string {
	var b bytes.Buffer
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	now := time.Now()
	for _, v := range []any{uint16(1), uint32(now.Unix()), uint32(now.Nanosecond()), uint16(len(secret)), secret} {
		_ = binary.Write(&b, binary.LittleEndian, v) // never fails (bytes.Buffer)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// capabilities of an entity, by the kind of daemon that grants them.
func capabilities(entity string) map[string]string {
	switch {
	case entity == "mon.":
		return map[string]string{"mon": "allow *"}
	case entity == Admin:
		return map[string]string{"mon": "allow *", "mgr": "allow *", "osd": "allow *", "mds": "allow *"}
	case entity == PVC:
		return map[string]string{"mon": "allow *", "mgr": "allow *", "osd": "allow *"}
	case entity == Libvirt:
		return map[string]string{"mon": "profile rbd", "mgr": "profile rbd", "osd": "profile rbd"}
	case entity == bootstrap:
		return map[string]string{"mon": "profile bootstrap-osd"}
	case strings.HasPrefix(entity, "mgr."):
		return map[string]string{"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"}
	case strings.HasPrefix(entity, "osd."):
		return map[string]string{"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"}
	}
	return nil
}

// Keyring is the content of a keyring file with the keys of the entities given;
// none are all of them.
func (k Keys) Keyring(entities ...string) string {
	if len(entities) == 0 {
		entities = slices.Sorted(maps.Keys(k))
	}
	var b strings.Builder
	for _, entity := range entities {
		fmt.Fprintf(&b, "[%s]\n\tkey = %s\n", entity, k[entity])
		caps := capabilities(entity)
		for _, kind := range slices.Sorted(maps.Keys(caps)) {
			fmt.Fprintf(&b, "\tcaps %s = \"%s\"\n", kind, caps[kind])
		}
	}
	return b.String()
}

// ClientFiles are the files that a client of the cluster needs, by their paths
// (without Root): the configuration, the keys of the users, and the one with which
// ceph-volume makes OSDs.
func (c Config) ClientFiles(keys Keys) map[string]string {
	files := map[string]string{ConfPath: c.Text(), BootstrapPath: keys.Keyring(bootstrap)}
	for _, user := range []string{Admin, PVC, Libvirt} {
		files[KeyringPath(user)] = keys.Keyring(user)
	}
	return files
}
