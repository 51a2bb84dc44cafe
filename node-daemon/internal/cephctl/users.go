package cephctl

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// readParallel is how many records are read at the same time.
const readParallel = 32

// Users returns a function for [Executor.Users] that reads the documents of all VMs
// from ZooKeeper, as they are when it is called. The daemon does not mirror them: volumes
// are removed seldom. Only documents in which the name is found as text are parsed.
func Users(client coord.Conn) func(ctx context.Context, pool, volume string) (map[string][]string, error) {
	return func(ctx context.Context, pool, volume string) (map[string][]string, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		for {
			users, err := usersOf(ctx, client, pool+"/"+volume)
			if !errs.Is(err, errs.Unavailable) || ctx.Err() != nil {
				return users, err
			}
			again := time.NewTimer(pauseBetween)
			select {
			case <-again.C:
			case <-ctx.Done():
			}
			again.Stop()
		}
	}
}

// ZooKeeper's servers take some seconds for the election of another leader, which is no
// reason for a command to fail.
const (
	patience     = 15 * time.Second
	pauseBetween = 250 * time.Millisecond
)

// usersOf looks for images whose names are, or begin with, a text: "vms/disk0", "vms/".
func usersOf(ctx context.Context, client coord.Conn, name string) (map[string][]string, error) {
	if err := client.Sync(ctx, schema.Domains); err != nil {
		return nil, err
	}
	uuids, _, err := client.Children(ctx, schema.Domains)
	if err != nil {
		return nil, err
	}
	users, mu := map[string][]string{}, sync.Mutex{}
	reading, ctx := errgroup.WithContext(ctx)
	reading.SetLimit(readParallel)
	for _, uuid := range uuids {
		reading.Go(func() error {
			volumes, vm, err := volumesOf(ctx, client, uuid, name)
			mu.Lock()
			defer mu.Unlock()
			for _, v := range volumes {
				users[v] = append(users[v], vm)
			}
			return err
		})
	}
	err = reading.Wait()
	for _, by := range users {
		slices.Sort(by)
	}
	return users, err
}

// volumesOf returns the volumes of that name that a VM's document names, and the VM's own
// name if there are any. A VM that is gone names none.
func volumesOf(ctx context.Context, client coord.Conn, uuid, name string) (volumes []string, vm string, err error) {
	xml, _, err := client.Get(ctx, schema.VM(uuid, schema.VMXML))
	if err == nil {
		volumes, err = named(ctx, client, uuid, name, xml)
	}
	if err == nil && len(volumes) > 0 {
		var own []byte
		own, _, err = client.Get(ctx, schema.VM(uuid))
		vm = "VM " + string(own)
	}
	if errors.Is(err, coord.ErrNoNode) {
		return nil, "", nil
	}
	return volumes, vm, err
}

// named reads a document in which the name stands, or may stand with characters written as
// entities. One that cannot be read names what was found in it when it could.
func named(ctx context.Context, client coord.Conn, uuid, name string, xml []byte) ([]string, error) {
	if !bytes.Contains(xml, []byte("rbd")) || !bytes.Contains(xml, []byte(name)) && !bytes.ContainsRune(xml, '&') {
		return nil, nil
	}
	images, err := rbdImages(string(xml))
	if err != nil {
		list, _, err := client.Get(ctx, schema.VM(uuid, schema.VMRBDList))
		if err != nil {
			return nil, err
		}
		images = strings.Split(schema.Text(string(list)), ",")
	}
	var volumes []string
	pool, volume, _ := strings.Cut(name, "/")
	for _, image := range images {
		if of, v, _ := strings.Cut(image, "/"); of == pool && (volume == "" || v == volume) && !slices.Contains(volumes, v) {
			volumes = append(volumes, v)
		}
	}
	return volumes, nil
}

// rbdImages are all RBD images that a document names, "pool/volume".
func rbdImages(xml string) ([]string, error) {
	spec, err := domxml.Parse(xml)
	if err != nil {
		return nil, err
	}
	images := domxml.RBDList(spec)
	for _, i := range domxml.WritableImages(spec) {
		if i.Kind == "rbd" {
			images = append(images, i.Name)
		}
	}
	return images, nil
}
