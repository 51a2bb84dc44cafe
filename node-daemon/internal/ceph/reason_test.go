package ceph_test

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

func TestRefusalCarriesNumberAndWords(t *testing.T) {
	for _, c := range []struct {
		number syscall.Errno
		text   string
		want   string
		kind   errs.Kind
	}{
		{syscall.EBUSY, "image has snapshots", "EBUSY: image has snapshots", errs.Conflict},
		{syscall.ENOTEMPTY, "", "ENOTEMPTY: directory not empty", errs.Conflict},
		{syscall.ENOENT, `no such pool "x"`, `ENOENT: no such pool "x"`, errs.NotFound},
		{syscall.EINVAL, "", "EINVAL: invalid argument", errs.Invalid},
		{syscall.EPERM, "pool deletion is disabled", "EPERM: pool deletion is disabled", errs.Denied},
		{syscall.ETIMEDOUT, "", "ETIMEDOUT: connection timed out", errs.Unavailable},
		{syscall.ESHUTDOWN, "", "ESHUTDOWN: cannot send after transport endpoint shutdown", errs.Unavailable},
		{syscall.EIO, "", "EIO: input/output error", errs.Internal},
		{syscall.Errno(4000), "odd", "errno 4000: odd", errs.Internal},
	} {
		err := fmt.Errorf("remove image: %w", ceph.Refused(c.number, c.text))
		if got, want := err.Error(), "remove image: "+c.want; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if errs.KindOf(err) != c.kind || ceph.NumberOf(err) != c.number {
			t.Errorf("%v is %v with number %d, want %v", err, errs.KindOf(err), ceph.NumberOf(err), c.kind)
		}
	}
	if n := ceph.NumberOf(errs.NotFoundf("a VM")); n != 0 {
		t.Errorf("another error has number %d", n)
	}
}

func FuzzCheckClient(f *testing.F) {
	f.Add("192.0.2.1:0/123")
	f.Add("[2001:db8::1]:0/7")
	f.Add("192.0.2.1:0/")
	f.Fuzz(func(t *testing.T, address string) {
		if err := ceph.CheckClient(address); err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v, want invalid", address, err)
		}
	})
}
