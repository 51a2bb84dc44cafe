package rados

import (
	"syscall"
	"time"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// An image is four things that librbd makes and removes one after the other: the object
// rbd_id.<name>, the entry in the directory, the header, the data. A client that dies or
// is fenced in between leaves some of them, and librbd says EEXIST to that name from then
// on, without anybody seeing an image.

const (
	idPrefix     = "rbd_id."
	headerPrefix = "rbd_header."
)

// remnantAge is how long something unfinished must stay as it is before it is taken for
// left behind: another client makes or removes an image in milliseconds.
const remnantAge = 3 * time.Second

// anatomy is what there is of an image of some name; empty values for what is not.
type anatomy struct {
	object    string // id in rbd_id.<name>
	directory string // id in the directory
	other     string // name that the directory has for the id in the object, if another
	header    bool   // of either id
}

func dissect(pool *gorados.IOContext, name string) (a anatomy, err error) {
	if a.object, err = absentIsEmpty(idObject(pool, name)); err != nil {
		return a, err
	}
	if a.directory, err = absentIsEmpty(idOf(pool, name)); err != nil {
		return a, err
	}
	for _, id := range []string{a.object, a.directory} {
		if id == "" {
			continue
		}
		_, err := pool.Stat(headerPrefix + id)
		if err != nil && numberOf(err) != syscall.ENOENT {
			return a, refusal(err, "")
		}
		a.header = a.header || err == nil
	}
	if a.object != "" {
		if a.other, err = absentIsEmpty(nameOf(pool, a.object)); a.other == name {
			a.other = ""
		}
	}
	return a, err
}

func absentIsEmpty(value string, err error) (string, error) {
	if ceph.NumberOf(err) == syscall.ENOENT {
		return "", nil
	}
	return value, err
}

// idObject returns the id by which librbd opens that name.
func idObject(pool *gorados.IOContext, name string) (string, error) {
	out, err := callClass(pool, idPrefix+name, directoryClass, "get_id", nil)
	if err != nil {
		return "", err
	}
	return decodeString(out)
}

// unfinished is the error of a name under which there is less than an image.
type unfinished struct {
	error
	found anatomy
}

func (e unfinished) Unwrap() error { return e.error }

// clearName makes a name free that librbd calls taken, if all there is of it is what was
// seen remnantAge before.
func clearName(pool *gorados.IOContext, poolName, name string, seen *anatomy) error {
	now, err := dissect(pool, name)
	switch {
	case err != nil:
		return err
	case !now.left():
		return taken(poolName, name)
	case seen == nil || *seen != now:
		return unfinished{taken(poolName, name), now}
	case now.directory != "":
		return removeImage(pool, name, nil)
	}
	return refusal(pool.Delete(idPrefix+name), "")
}

// left reports whether this is less than an image.
func (a anatomy) left() bool {
	switch {
	case a.directory != "": // a creation or removal was broken off
		return !a.header
	case a.object == "":
		return false
	}
	// Without an entry in the directory: of a creation, or the old or new name of a
	// renamed image, whose data must not be touched by this name.
	return a.other != "" || !a.header
}

// clearTarget takes back the half of a renaming that was broken off: the new name opens
// the image already, and the directory does not know it yet.
func clearTarget(pool *gorados.IOContext, id, to string) error {
	a, err := dissect(pool, to)
	if err != nil || a.object != id || a.directory != "" {
		return err
	}
	return refusal(pool.Delete(idPrefix+to), "")
}
