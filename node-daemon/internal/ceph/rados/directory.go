package rados

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"syscall"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// directory is the object in which a pool keeps names and ids of its images, and the
// class of the OSD that reads it for all clients. What lies in the trash is not in it.
const (
	directory      = "rbd_directory"
	directoryClass = "rbd"
)

// nameOf returns the name of the image with that id.
func nameOf(pool *gorados.IOContext, id string) (string, error) {
	return lookUp(pool, "dir_get_name", id)
}

// idOf returns the id of the image of that name.
func idOf(pool *gorados.IOContext, name string) (string, error) {
	return lookUp(pool, "dir_get_id", name)
}

func lookUp(pool *gorados.IOContext, method, key string) (string, error) {
	out, err := callClass(pool, directory, directoryClass, method, encodeString(key))
	if err != nil {
		return "", err
	}
	return decodeString(out)
}

// encodeString is Ceph's encoding of a string: its length, little endian, and its bytes.
func encodeString(s string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(s))), s...)
}

func decodeString(b []byte) (string, error) {
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return "", fmt.Errorf("%d bytes are no string of Ceph's", len(b))
	}
	return string(b[4 : 4+binary.LittleEndian.Uint32(b)]), nil
}

// named is nameOf with an error in words.
func named(pool *gorados.IOContext, poolName, id string) (string, error) {
	name, err := nameOf(pool, id)
	if ceph.NumberOf(err) == syscall.ENOENT {
		return "", ceph.Refused(syscall.ENOENT, fmt.Sprintf("no image with id %q in pool %q", id, poolName))
	}
	return name, err
}

// stillNamed makes sure that a name belongs to that id: to who lists images, and to librbd.
// Of an image on whose way to the trash somebody has stopped librbd finds no object with the id.
func stillNamed(pool *gorados.IOContext, poolName, name, id string) error {
	object := func(pool *gorados.IOContext, name string) (string, error) {
		now, err := absentIsEmpty(idObject(pool, name))
		return cmp.Or(now, id), err
	}
	for _, find := range []func(*gorados.IOContext, string) (string, error){idOf, object} {
		now, err := find(pool, name)
		if err == nil && now != id {
			err = ceph.Refused(syscall.ENOENT, fmt.Sprintf("image %q of pool %q has id %q now, not %q", name, poolName, now, id))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
