package cephctl

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// thousand is a cluster of 1,000 VMs with documents of 4 KiB, half of them with RBD disks.
func thousand(tb testing.TB) (coord.Client, []string) {
	tb.Helper()
	zoo := ensemble.Start(tb, ensemble.Options{Servers: 3})
	conn := coordtest.Dial(tb, zoo.Addrs(), 10*time.Second, nil)
	filler := "<description>" + strings.Repeat("x", 3500) + "</description>"
	txn := new(coord.Txn).Create(schema.Domains, nil)
	for n := range 1000 {
		uuid, disk := model.NewUUID(), ""
		if n%2 == 0 {
			disk = fmt.Sprintf("<disk type='network' device='disk'><source protocol='rbd' name='vms/d%d'/><target dev='vda'/></disk>", n)
		}
		xml := fmt.Sprintf("<domain type='qemu'><name>v%d</name><uuid>%s</uuid>%s<memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices>%s</devices></domain>", n, uuid, filler, disk)
		txn.Create(schema.VM(uuid), fmt.Append(nil, "v", n)).Create(schema.VM(uuid, schema.VMXML), []byte(xml)).Create(schema.VM(uuid, schema.VMRBDList), nil)
		if txn.Bytes() > coord.MaxTxnBytes/2 || n == 999 {
			if _, err := conn.Commit(context.Background(), *txn); err != nil {
				tb.Fatal(err)
			}
			txn = new(coord.Txn)
		}
	}
	return conn, zoo.Addrs()
}

// BenchmarkUsers is what each removal and rename costs, of a volume and of a pool, beside
// reading all documents each time and a single read.
func BenchmarkUsers(b *testing.B) {
	conn, servers := thousand(b)
	u := &Users{Dial: zk.Dial, Options: coord.Options{Servers: servers, Timeout: 10 * time.Second}}
	b.Cleanup(u.Close)
	all := func(ctx context.Context, pool, volume string) (map[string][]string, error) {
		x := newIndex(conn)
		if err := x.refresh(ctx); err != nil {
			return nil, err
		}
		return x.users(pool, volume), nil
	}
	for _, tc := range []struct {
		what   string
		of     func(ctx context.Context, pool, volume string) (map[string][]string, error)
		volume string
		want   int
	}{
		{"of a volume", u.Of, "d8", 1}, {"of a pool", u.Of, "", 500},
		{"of a volume, all read", all, "d8", 1}, {"of a pool, all read", all, "", 500},
	} {
		b.Run(tc.what, func(b *testing.B) {
			if _, err := tc.of(b.Context(), "vms", tc.volume); err != nil { // the first time it reads all
				b.Fatal(err)
			}
			for b.Loop() {
				if users, err := tc.of(b.Context(), "vms", tc.volume); err != nil || len(users) != tc.want {
					b.Fatal(len(users), err)
				}
			}
		})
	}
	b.Run("one read", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := conn.Children(b.Context(), schema.Domains); err != nil {
				b.Fatal(err)
			}
		}
	})
}
