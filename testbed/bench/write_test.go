package bench

import (
	"context"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/node-daemon/fleet"
)

// BenchmarkSetState compares POST /vm/<vm>/state with the bare transaction of the same
// keys, one request at a time, on three servers.
func BenchmarkSetState(b *testing.B) {
	b.Log(machine())
	const vms, nodes = 100, 3
	zoo := startZooKeeper(b, 3)
	conn := dial(b, zoo.Addrs())
	layout(b, conn, nodes)
	fill(b, conn, 0, vms, nodes, stopped)
	api := startAPI(b, zoo.Addrs())
	var ours, bare []time.Duration
	var ratios []float64
	for b.Loop() {
		for range 10 {
			o := timeEach(b, vms/2, func(i int) error { return api.setState(vmName(i), other(len(ratios))) })
			t := timeEach(b, vms/2, func(i int) error { return bareState(conn, vms/2+i, nodes, other(len(ratios))) })
			ours, bare = append(ours, o...), append(bare, t...)
			ratios = append(ratios, float64(median(o))/float64(median(t)))
		}
	}
	figures(b, map[string]float64{
		"p50-ms": millis(median(ours)), "p95-ms": millis(percentile(ours, 0.95)),
		"bare-p50-ms": millis(median(bare)), "bare-p95-ms": millis(percentile(bare, 0.95)), "ratio": median(ratios),
	})
}

// other is the state that a VM which began stopped has not got before round n.
func other(n int) string {
	if n%2 == 0 {
		return string(model.VMStart)
	}
	return string(model.VMStop)
}

func timeEach(b *testing.B, n int, fn func(i int) error) []time.Duration {
	b.Helper()
	took := make([]time.Duration, n)
	for i := range n {
		began := time.Now()
		if err := fn(i); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(began)
	}
	return took
}

// bareState commits what the API commits for a change of state.
func bareState(c coord.Conn, i, nodes int, state string) error {
	node := fleet.Name(i % nodes)
	txn := new(coord.Txn).Set(schema.VM(vmUUID(i), schema.VMState), []byte(state), coord.AnyVersion).
		Check(schema.NodeVM(node, vmUUID(i)), coord.AnyVersion).
		Set(schema.Node(node, schema.NodeDoorbell), nil, coord.AnyVersion)
	_, err := c.Commit(context.Background(), *txn)
	return err
}
