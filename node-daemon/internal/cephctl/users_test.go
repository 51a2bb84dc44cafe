package cephctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// electing is a ZooKeeper that does not serve for a while.
type electing struct {
	coord.Client // nothing else is called
	refusals     int
}

func (e *electing) dial(context.Context, coord.Options) (coord.Client, error) { return e, nil }

func (e *electing) Close() {}

func (e *electing) Sync(context.Context, string) error {
	if e.refusals > 0 {
		e.refusals--
		return errs.Unavailablef("no connection to ZooKeeper")
	}
	return nil
}

func (e *electing) ChildrenW(context.Context, string) ([]string, coord.Stat, error) {
	return nil, coord.Stat{}, nil
}

func TestAnElectionOfZooKeeperFailsNoCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &Users{Dial: (&electing{refusals: 3}).dial}
		if users, err := u.Of(t.Context(), "vms", "a"); err != nil || len(users) > 0 {
			t.Errorf("%v, %v", users, err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	u := &Users{Dial: (&electing{refusals: 3}).dial}
	if _, err := u.Of(ctx, "vms", "a"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("when the command is given up: %v", err)
	}
}

// reading counts the documents that are read.
type reading struct {
	coord.Client
	documents *atomic.Int32
}

func (r reading) GetW(ctx context.Context, path string) ([]byte, coord.Stat, error) {
	r.documents.Add(1)
	return r.Client.GetW(ctx, path)
}

// TestUsersAreThoseOfThisMoment changes documents in all ways, and the connection: the answer is
// always what the documents say, and only those that changed are read.
func TestUsersAreThoseOfThisMoment(t *testing.T) {
	t.Parallel()
	zoo := ensemble.Start(t, ensemble.Options{Servers: 1, Tick: 200 * time.Millisecond})
	proxy := coordtest.NewProxy(t, zoo.Addrs())
	conn := coordtest.Dial(t, zoo.Addrs(), patientSession, nil)
	l := &lab{t: t, conn: conn}
	var documents atomic.Int32
	u := &Users{Options: coord.Options{Servers: proxy.Addrs(), Timeout: patientSession}, Dial: func(ctx context.Context, o coord.Options) (coord.Client, error) {
		c, err := zk.Dial(ctx, o)
		return reading{c, &documents}, err
	}}
	t.Cleanup(u.Close)
	are := func(when string, read int32, want map[string][]string) {
		t.Helper()
		documents.Store(0)
		users, err := u.Of(t.Context(), "vms", "")
		if err != nil || cmp.Diff(want, users) != "" {
			t.Errorf("%s: %v, %v, want %v", when, users, err, want)
		}
		if n := documents.Load(); n != read {
			t.Errorf("%s: %d documents were read, want %d", when, n, read)
		}
	}
	set := func(uuid, xml string) {
		l.commit(new(coord.Txn).Set(schema.VM(uuid, schema.VMXML), []byte(xml), coord.AnyVersion))
	}
	type by = map[string][]string
	id := func(n int) string { return fmt.Sprintf("%d1111111-1111-4111-8111-111111111111", n) }
	l.commit(new(coord.Txn).Create(schema.Domains, nil))
	are("no VM", 0, by{})
	l.vm(id(1), "web1", "vms/a", "other/b")
	l.vm(id(2), "web2", "vms/a", "vms/b")
	are("two", 2, by{"a": {"VM web1", "VM web2"}, "b": {"VM web2"}})
	are("nothing has changed", 0, by{"a": {"VM web1", "VM web2"}, "b": {"VM web2"}})
	set(id(1), string(document("web1", "vms/c")))
	are("another disk", 1, by{"a": {"VM web2"}, "b": {"VM web2"}, "c": {"VM web1"}})
	l.commit(deleteVM(id(2)))
	l.vm(id(3), "web3")
	are("one went, one came", 1, by{"c": {"VM web1"}})
	proxy.Drop()
	are("a new connection", 2, by{"c": {"VM web1"}})
	set(id(3), "<domain><rbd")
	l.commit(new(coord.Txn).Set(schema.VM(id(3), schema.VMRBDList), []byte("vms/d,vms/e"), coord.AnyVersion))
	are("one that cannot be read", 1, by{"c": {"VM web1"}, "d": {"VM web3"}, "e": {"VM web3"}})
	are("it is read each time", 1, by{"c": {"VM web1"}, "d": {"VM web3"}, "e": {"VM web3"}})
	l.commit(new(coord.Txn).Create(schema.VM(id(4)), []byte("web4")))
	are("one without a document", 2, by{"c": {"VM web1"}, "d": {"VM web3"}, "e": {"VM web3"}})
	l.commit(new(coord.Txn).Create(schema.VM(id(4), schema.VMXML), document("web4", "vms/d")))
	set(id(3), string(document("web3", "vms/d")))
	are("both can be read", 2, by{"c": {"VM web1"}, "d": {"VM web3", "VM web4"}})
	are("and are known", 0, by{"c": {"VM web1"}, "d": {"VM web3", "VM web4"}})
}

// document is one of a VM with RBD disks.
func document(vm string, names ...string) []byte {
	xml := "<domain type='qemu'><name>" + vm + "</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices>"
	for i, n := range names {
		xml += fmt.Sprintf("<disk type='network' device='disk'><source protocol='rbd' name='%s'/><target dev='vd%c'/></disk>", n, 'a'+i)
	}
	return []byte(xml + "</devices></domain>")
}

// TestOnlyTheVolumeThatIsMeantIsFound however its name is written in a document.
func TestOnlyTheVolumeThatIsMeantIsFound(t *testing.T) {
	for _, tc := range []struct {
		xml  []byte
		name string
		want []string
	}{
		{document("web1", "vms/a"), "vms/a", []string{"a"}},
		{document("web1", "vms&#47;&#x61;"), "vms/a", []string{"a"}},
		{document("web1", "vms/ab", "vms2/a", "svms/a"), "vms/a", nil},
		{document("web1", "vms/ab", "vms/a", "vms/a"), "vms/a", []string{"a"}},
		{document("web1", "vms/b", "vms/a", "vms2/c"), "vms/", []string{"b", "a"}},
		{document("web1", "&#118;ms/b", "vms2/c"), "vms/", []string{"b"}},
		{document("web1"), "vms/", nil},
	} {
		spec, err := domxml.Parse(string(tc.xml))
		if err != nil {
			t.Fatal(err)
		}
		pool, volume, _ := strings.Cut(tc.name, "/")
		if got := volumesOf(rbdImages(spec), pool, volume); !slices.Equal(got, tc.want) {
			t.Errorf("%s in %s: %v, want %v", tc.name, tc.xml, got, tc.want)
		}
	}
}
