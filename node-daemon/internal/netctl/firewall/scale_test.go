package firewall

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// many are networks with ten rules in each direction.
func many(count int) (networks []*model.Network) {
	for i := range count {
		var in, out []string
		for j := range 10 {
			in = append(in, fmt.Sprintf("ip saddr 192.0.2.%d tcp dport { %d, 443 } accept", j, 1000+j))
			out = append(out, fmt.Sprintf("udp dport %d drop", 2000+j))
		}
		networks = append(networks, network(1000+i, in, out))
	}
	return networks
}

// TestBadNetworksAmongManyAreFound: and all others are loaded.
func TestBadNetworksAmongManyAreFound(t *testing.T) {
	inNamespace(t)
	networks := many(40)
	for _, i := range []int{3, 4, 39} {
		networks[i].In[5].Text = "icmp type nonsense accept"
	}
	r := newRig(t)
	failed := r.Apply(t.Context(), true, networks)
	got := listing(t)
	for i, n := range networks {
		if bad := i == 3 || i == 4 || i == 39; bad != (failed[n.VNI] != nil) {
			t.Errorf("network %d: %v", n.VNI, failed[n.VNI])
		}
		if !strings.Contains(got, fmt.Sprintf(": jump vxlan%d-in", n.VNI)) {
			t.Errorf("network %d has no rules", n.VNI)
		}
	}
	if len(failed) != 3 {
		t.Errorf("%d errors", len(failed))
	}
}

func BenchmarkApply(b *testing.B) {
	const count = 200
	networks := many(count)
	changed := many(count)
	changed[17].In[3].Text = "tcp dport 9 drop"
	var batch []*change
	for _, n := range networks {
		batch = append(batch, &change{n, render(n, nil)})
	}
	script, one := rebuilt(batch), Render(networks)[networks[17].VNI]

	b.Run("200Networks", func(b *testing.B) {
		inNamespace(b)
		for b.Loop() {
			b.StopTimer()
			nft(b, "flush ruleset", "-f", "-")
			b.StartTimer()
			mustHold(b, newRig(b).Apply(b.Context(), true, networks))
		}
	})
	b.Run("200Networks/BareNft", func(b *testing.B) {
		inNamespace(b)
		for b.Loop() {
			b.StopTimer()
			nft(b, "flush ruleset", "-f", "-")
			b.StartTimer()
			nft(b, script, "-f", "-")
		}
	})
	b.Run("OneChange", func(b *testing.B) {
		inNamespace(b)
		r := newRig(b)
		mustHold(b, r.Apply(b.Context(), true, networks))
		for i := 0; b.Loop(); i++ {
			mustHold(b, r.Apply(b.Context(), true, [][]*model.Network{changed, networks}[i%2]))
		}
	})
	b.Run("OneChange/BareNft", func(b *testing.B) {
		inNamespace(b)
		nft(b, script, "-f", "-")
		for b.Loop() {
			nft(b, one, "-f", "-")
		}
	})
	b.Run("Nothing", func(b *testing.B) {
		inNamespace(b)
		r := newRig(b)
		mustHold(b, r.Apply(b.Context(), true, networks))
		for b.Loop() {
			mustHold(b, r.Apply(b.Context(), true, networks))
		}
	})
	b.Run("SomebodyElsesChange", func(b *testing.B) {
		inNamespace(b)
		r := newRig(b)
		mustHold(b, r.Apply(b.Context(), true, networks))
		for b.Loop() {
			b.StopTimer()
			nft(b, "add table inet other", "-f", "-")
			b.StartTimer()
			mustHold(b, r.Apply(b.Context(), true, networks))
		}
	})
}
