package lock

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	hexA = "0123456789abcdef0123456789abcdef"
	hexB = "fedcba9876543210fedcba9876543210"
)

func TestContendersWaitForTheNearestThatExcludesThem(t *testing.T) {
	w := func(seq string) string { return hexA + "__lock__" + seq }
	r := func(seq string) string { return hexB + "__rlock__" + seq }
	for name, tc := range map[string]struct {
		children []string
		own      string
		before   string
		there    bool
	}{
		"alone":                             {[]string{w("0000000003")}, w("0000000003"), "", true},
		"writer behind reader":              {[]string{w("0000000003"), r("0000000002"), w("0000000001")}, w("0000000003"), r("0000000002"), true},
		"reader behind writer":              {[]string{r("0000000003"), r("0000000002"), w("0000000001")}, r("0000000003"), w("0000000001"), true},
		"reader among readers":              {[]string{r("0000000003"), r("0000000002")}, r("0000000003"), "", true},
		"later ones do not count":           {[]string{w("0000000003"), w("0000000004"), r("0000000005")}, w("0000000003"), "", true},
		"others are no contenders":          {[]string{w("0000000003"), "_c_0-lock-0000000001", "cmd", "x__lock__y"}, w("0000000003"), "", true},
		"order is by number, not by name":   {[]string{w("0000000010"), r("0000000009")}, w("0000000010"), r("0000000009"), true},
		"a number may have become negative": {[]string{w("0000000003"), w("-2147483648")}, w("0000000003"), w("-2147483648"), true},
		"own node removed":                  {[]string{w("0000000001")}, w("0000000003"), w("0000000001"), false},
		"own name is none":                  {[]string{w("0000000001")}, "x", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			before, there := predecessor(tc.children, tc.own)
			if before != tc.before || there != tc.there {
				t.Errorf("predecessor = %q, %v, want %q, %v", before, there, tc.before, tc.there)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{hexA + "__lock__0000000001", hexA + "__rlock__-000000001", "__lock__", "__lock____rlock__1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		c, ok := parse(name)
		if !ok {
			return
		}
		if d := cmp.Diff(name, c.name); d != "" {
			t.Error(d)
		}
		if before, there := predecessor([]string{name}, name); before != "" || !there {
			t.Errorf("%q waits for %q", name, before)
		}
	})
}
