package rados

import (
	"fmt"
	"strings"
	"testing"

	testceph "github.com/parallelvirtualcluster/pvc/testbed/ceph"
)

// BenchmarkCalls runs each call beside the tool that does the same.
func BenchmarkCalls(b *testing.B) {
	c := testceph.Start(b, testceph.Options{})
	r := &rig{cluster: c, here: open(b, c)}
	ctx := b.Context()
	pool, _ := r.pool(b, "bench", 1<<30)
	n := 0
	name := func() string { n++; return fmt.Sprintf("image%d", n) }
	words := func(format string, args ...any) []string { return strings.Fields(fmt.Sprintf(format, args...)) }
	create := func(b *testing.B, name string) string {
		i, err := r.here.CreateImage(ctx, pool, name, 1<<30)
		must(b, err)
		return i.ID
	}
	for _, c := range []struct {
		name string
		call func(b *testing.B)
		tool func(b *testing.B)
	}{
		{"Status", func(b *testing.B) { _, err := r.here.Status(ctx); must(b, err) }, func(b *testing.B) { r.tool(b, words("ceph status")...) }},
		{"DF", func(b *testing.B) { _, err := r.here.DF(ctx); must(b, err) }, func(b *testing.B) { r.tool(b, words("rados df")...) }},
		{"OSDs", func(b *testing.B) { _, err := r.here.OSDs(ctx); must(b, err) }, func(b *testing.B) { r.tool(b, words("ceph osd df")...) }},
		{"Image", func(b *testing.B) { _, err := r.here.Image(ctx, pool, "disk0"); must(b, err) }, func(b *testing.B) { r.tool(b, words("rbd info %s/disk0", pool)...) }},
		{"Look", func(b *testing.B) { _, err := r.here.Look(ctx, pool, "disk0"); must(b, err) }, func(b *testing.B) { r.tool(b, words("rbd info %s/disk0", pool)...) }},
		{"CreateImage", func(b *testing.B) { create(b, name()) }, func(b *testing.B) { r.tool(b, words("rbd create --size 1G %s/%s", pool, name())...) }},
		{"CreateAndRemoveImage", func(b *testing.B) { must(b, r.here.RemoveImage(ctx, pool, create(b, name()), nil)) }, func(b *testing.B) {
			of := name()
			r.tool(b, words("rbd create --size 1G %s/%s", pool, of)...)
			r.tool(b, words("rbd rm --no-progress %s/%s", pool, of)...)
		}},
		{"CreateAndRemovePool", func(b *testing.B) {
			p, err := r.here.CreatePool(ctx, name(), 4)
			must(b, err)
			must(b, r.here.RemovePool(ctx, p.Name, p.ID))
		}, func(b *testing.B) {
			of := name()
			r.tool(b, words("ceph osd pool create %s 4", of)...)
			r.tool(b, words("rbd pool init %s", of)...)
			r.tool(b, words("ceph osd pool delete %s %s --yes-i-really-really-mean-it", of, of)...)
		}},
		{"List", func(b *testing.B) { _, err := r.here.Images(ctx, pool); must(b, err) }, func(b *testing.B) { r.tool(b, words("rbd ls -l %s", pool)...) }},
		{"Survey", func(b *testing.B) { _, err := r.here.Survey(ctx, pool); must(b, err) }, func(b *testing.B) { r.tool(b, words("rbd ls %s", pool)...) }},
	} {
		for way, fn := range map[string]func(*testing.B){"call": c.call, "tool": c.tool} {
			b.Run(c.name+"/"+way, func(b *testing.B) {
				for b.Loop() {
					fn(b)
				}
			})
		}
	}
}
