package main

import (
	"encoding/json"
	"fmt"
	"strconv"

	gorados "github.com/ceph/go-ceph/rados"
	gorbd "github.com/ceph/go-ceph/rbd"
)

// kind is one call: how many arguments it has, and what it does with them.
type kind struct {
	args int
	do   func(conn *gorados.Conn, args []string) error
}

// kinds by name. The first argument of those made by inPool is the pool.
var kinds = map[string]kind{
	"status": {0, func(conn *gorados.Conn, _ []string) error { return monitor(conn, "prefix", "status") }},
	"df": {0, func(conn *gorados.Conn, _ []string) error {
		if err := monitor(conn, "prefix", "df"); err != nil {
			return err
		}
		_, err := conn.GetClusterStats()
		return err
	}},
	"option": {2, func(conn *gorados.Conn, a []string) error { return monitor(conn, "prefix", "osd "+a[0], "key", a[1]) }},

	"pool-add":    {2, addPool},
	"pool-remove": {1, func(conn *gorados.Conn, a []string) error { return conn.DeletePool(a[0]) }},

	"volume-add":    inPool(2, addImage),
	"volume-grow":   onImage(2, func(i *gorbd.Image, a []string) error { return withNumber(a[0], i.Resize) }),
	"volume-rename": inPool(2, func(io *gorados.IOContext, a []string) error { return gorbd.GetImage(io, a[0]).Rename(a[1]) }),
	"volume-remove": inPool(1, func(io *gorados.IOContext, a []string) error { return gorbd.RemoveImage(io, a[0]) }),
	"volume-list":   inPool(0, list),

	"snapshot-add": onImage(2, func(i *gorbd.Image, a []string) error {
		_, err := i.CreateSnapshot(a[0])
		return err
	}),
	"snapshot-remove": onImage(2, func(i *gorbd.Image, a []string) error { return i.GetSnapshot(a[0]).Remove() }),
}

func call(conn *gorados.Conn, name string, args []string) error {
	k, ok := kinds[name]
	if !ok || len(args) != k.args {
		return fmt.Errorf("no call %q has %d arguments", name, len(args))
	}
	if err := k.do(conn, args); err != nil {
		return fmt.Errorf("%s %q: %w", name, args, err)
	}
	return nil
}

// inPool is a call within a pool, with so many arguments beside it.
func inPool(args int, do func(io *gorados.IOContext, args []string) error) kind {
	return kind{args + 1, func(conn *gorados.Conn, args []string) error {
		io, err := conn.OpenIOContext(args[0])
		if err != nil {
			return err
		}
		defer io.Destroy()
		return do(io, args[1:])
	}}
}

// onImage is inPool with an image, its first argument, opened for writing.
func onImage(args int, do func(i *gorbd.Image, args []string) error) kind {
	return inPool(args, func(io *gorados.IOContext, args []string) error {
		image, err := gorbd.OpenImage(io, args[0], gorbd.NoSnapshot)
		if err != nil {
			return err
		}
		err = do(image, args[1:])
		if closing := image.Close(); err == nil {
			err = closing
		}
		return err
	})
}

func withNumber(text string, do func(uint64) error) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return err
	}
	return do(n)
}

// addImage makes an image with the features of the configuration.
func addImage(io *gorados.IOContext, args []string) error {
	options := gorbd.NewRbdImageOptions()
	defer options.Destroy()
	return withNumber(args[1], func(size uint64) error { return gorbd.CreateImage(io, args[0], size, options) })
}

// list reads of each image what `rbd ls -l` shows.
func list(io *gorados.IOContext, _ []string) error {
	names, err := gorbd.GetImageNames(io)
	if err != nil {
		return err
	}
	for _, name := range names {
		image, err := gorbd.OpenImageReadOnly(io, name, gorbd.NoSnapshot)
		if err != nil {
			return err
		}
		_, err = image.Stat()
		if closing := image.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addPool makes a pool for RBD, as our daemon does: without autoscaling.
func addPool(conn *gorados.Conn, args []string) error {
	return withNumber(args[1], func(pgs uint64) error {
		if err := monitor(conn, "prefix", "osd pool create", "pool", args[0], "pg_num", pgs, "pgp_num", pgs, "pool_type", "replicated", "autoscale_mode", "off"); err != nil {
			return err
		}
		if err := monitor(conn, "prefix", "osd pool application enable", "pool", args[0], "app", "rbd"); err != nil {
			return err
		}
		io, err := conn.OpenIOContext(args[0])
		if err != nil {
			return err
		}
		defer io.Destroy()
		return gorbd.PoolInit(io, false)
	})
}

// monitor sends a command made of names and values.
func monitor(conn *gorados.Conn, pairs ...any) error {
	words := map[string]any{"format": "json"}
	for i := 0; i < len(pairs); i += 2 {
		words[pairs[i].(string)] = pairs[i+1] // the names above are strings
	}
	b, err := json.Marshal(words)
	if err != nil {
		return err
	}
	_, message, err := conn.MonCommand(b)
	if err != nil {
		return fmt.Errorf("%s: %w", message, err)
	}
	return nil
}
