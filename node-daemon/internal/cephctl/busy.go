package cephctl

import (
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// finished are the nonces of the commands that have ended.
func finished(s *view.Snapshot) map[string]bool {
	ended := map[string]bool{}
	for _, c := range s.Commands() {
		if c.Finished() {
			ended[c.Nonce] = true
		}
	}
	return ended
}

// busy are the keys of commands that may have changed Ceph, or the records, since a
// moment: what was seen of their objects is not to be trusted.
type busy struct {
	all  bool
	keys []string
}

// busySince returns the keys of commands that had not ended before.
func busySince(s *view.Snapshot, before map[string]bool) (b busy) {
	for _, c := range s.Commands() {
		if c.Finished() && before[c.Nonce] {
			continue
		}
		args, err := command.ParseArgs(c)
		if err != nil {
			b.all = true
			continue
		}
		b.keys = append(b.keys, args.Keys()...)
	}
	return b
}

// touches reports whether a command works on an object or on what contains it.
func (b busy) touches(key string) bool {
	for _, k := range b.keys {
		if k == key || strings.HasPrefix(key, k+"/") {
			return true
		}
	}
	return b.all
}

// within is touches, also for what the object contains.
func (b busy) within(key string) bool {
	for _, k := range b.keys {
		if strings.HasPrefix(k, key+"/") {
			return true
		}
	}
	return b.touches(key)
}
