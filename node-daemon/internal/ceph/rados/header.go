package rados

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
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

// The header of an image keeps what it knows of itself under these keys, those of clones and
// snapshots with more.
const (
	parentKey      = "parent"
	snapshotPrefix = "snapshot_"
	mostKeys       = 64 // of an image that is no clone and has no snapshots; 16.2 writes nine
)

// Look implements ceph.Calls.
func (c calls) Look(ctx context.Context, pool, name string) (ceph.Image, error) {
	what := fmt.Sprintf("read image %s/%s", pool, name)
	i, err := inPool(ctx, c, what, pool, short, reads, func(_ *link, io *gorados.IOContext) (ceph.Image, error) {
		return describeHeader(io, name)
	})
	if err != nil || i.ID != "" {
		return i, err
	}
	return c.Image(ctx, pool, name)
}

// describeHeader reads the header of an image of that name: no ID says that it has to be
// opened for its description, or is not there.
func describeHeader(io *gorados.IOContext, name string) (none ceph.Image, err error) {
	id, err := absentIsEmpty(idObject(io, name))
	if err != nil || id == "" {
		return none, err
	}
	if listed, err := absentIsEmpty(idOf(io, name)); err != nil || listed != id {
		return none, err
	}
	keys, err := io.GetOmapValues(headerPrefix+id, "", "", mostKeys)
	if err != nil {
		_, err = absentIsEmpty("", refusal(err, ""))
		return none, err
	}
	i, simple, err := readHeader(keys)
	if err != nil || !simple {
		return none, err
	}
	i.ID, i.Name = id, name
	return i, nil
}

// readHeader decodes the keys of a header; simple is false if they do not tell everything.
func readHeader(keys map[string][]byte) (i ceph.Image, simple bool, err error) {
	for key := range keys {
		if key == parentKey || strings.HasPrefix(key, snapshotPrefix) {
			return i, false, nil
		}
	}
	size, features, order, created := keys["size"], keys["features"], keys["order"], keys["create_timestamp"]
	if len(size) != 8 || len(features) != 8 || len(order) != 1 || order[0] > 63 || len(keys) == mostKeys {
		return i, false, nil
	}
	i.Size, i.Order, i.Unwatched = binary.LittleEndian.Uint64(size), int(order[0]), true
	i.Objects, i.Features = objectsOf(i.Size, i.Order), featureNames(binary.LittleEndian.Uint64(features))
	if i.Prefix, err = decodeString(keys["object_prefix"]); err != nil {
		return i, false, err
	}
	i.Created, err = decodeTime(created)
	return i, err == nil, err
}

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
