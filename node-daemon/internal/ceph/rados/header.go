package rados

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"time"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Opening an image costs some milliseconds of a processor, a method of its header's class a
// twentieth of that.

// noSnapshot is CEPH_NOSNAP, the image itself where a snapshot could be named.
const noSnapshot = ^uint64(1)

// glance makes sure that an image is there and that Ceph answers for it: its directory and
// its header. It returns the image's name.
func glance(io *gorados.IOContext, pool, id string) (string, error) {
	name, err := named(io, pool, id)
	if err != nil {
		return "", err
	}
	if _, err := io.Stat(headerPrefix + id); err != nil {
		if numberOf(err) == syscall.ENOENT {
			return name, noImage(pool, id)
		}
		return name, refusal(err, "")
	}
	return name, nil
}

// absent reports whether there is no image of that name, of either format, so that there is
// nothing to open.
func absent(io *gorados.IOContext, name string) (bool, error) {
	id, err := absentIsEmpty(idObject(io, name))
	if err != nil || id != "" {
		return false, err
	}
	_, err = io.Stat(name + oldHeaderSuffix)
	if numberOf(err) == syscall.ENOENT {
		return true, nil
	}
	return false, refusal(err, "")
}

// oldHeaderSuffix ends the name of the header of an image of format 1.
const oldHeaderSuffix = ".rbd"

// describeNew is describe for an image that was just made and is no clone: nobody can have
// it open and it has no snapshots yet.
func describeNew(io *gorados.IOContext, name string, features uint64) (i ceph.Image, err error) {
	i.Name, i.Features = name, featureNames(features)
	if i.ID, err = idObject(io, name); err != nil {
		return i, err
	}
	header := headerPrefix + i.ID
	prefix, err := callClass(io, header, directoryClass, "get_object_prefix", nil)
	if err == nil {
		i.Prefix, err = decodeString(prefix)
	}
	if err != nil {
		return i, err
	}
	size, err := callClass(io, header, directoryClass, "get_size", binary.LittleEndian.AppendUint64(nil, noSnapshot))
	if err == nil {
		i.Order, i.Size, err = decodeSize(size)
	}
	if err != nil {
		return i, err
	}
	i.Objects = objectsOf(i.Size, i.Order)
	created, err := callClass(io, header, directoryClass, "get_create_timestamp", nil)
	if err == nil {
		i.Created, err = decodeTime(created)
	}
	return i, err
}

// objectsOf is how many objects of 2^order bytes an image can have.
func objectsOf(size uint64, order int) uint64 {
	whole := size >> order
	if whole<<order < size {
		whole++
	}
	return whole
}

// decodeSize reads the order and the size of an image.
func decodeSize(b []byte) (order int, size uint64, err error) {
	if len(b) < 9 || b[0] > 63 {
		return 0, 0, fmt.Errorf("%x is no size of an image", b)
	}
	return int(b[0]), binary.LittleEndian.Uint64(b[1:]), nil
}

// decodeTime reads Ceph's encoding of a time: seconds and nanoseconds.
func decodeTime(b []byte) (time.Time, error) {
	if len(b) < 8 {
		return time.Time{}, fmt.Errorf("%x is no time of Ceph's", b)
	}
	return time.Unix(int64(binary.LittleEndian.Uint32(b)), int64(binary.LittleEndian.Uint32(b[4:]))).UTC(), nil
}
