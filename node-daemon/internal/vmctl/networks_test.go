package vmctl

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

func TestAGuestWithoutItsBridgeIsNotStarted(t *testing.T) {
	l := newLab(t, "hv1")
	for _, vni := range []int{8, 9} {
		l.commit(new(coord.Txn).Create(schema.Network(vni), []byte(fmt.Sprint("net", vni))).
			Create(schema.Network(vni, schema.NetworkType), []byte("managed")))
	}
	nic := func(vni int) string {
		return fmt.Sprintf("<interface type='bridge'><source bridge='vmbr%d'/></interface>", vni)
	}
	good, bad := l.define("good", "hv1", nic(8)), l.define("bad", "hv1", nic(9))
	for _, uuid := range []string{good, bad} {
		if _, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: uuid, State: "start"}); err != nil {
			t.Fatal(err)
		}
	}
	l.until("one runs, the other has failed", func(s *view.Snapshot) bool {
		g, _ := s.VM(good)
		b, _ := s.VM(bad)
		return g.Claim != nil && g.Claim.Resumed && b.State == model.VMFailed && strings.Contains(b.FailedReason, "vmbr9") && b.Claim == nil
	})
}
