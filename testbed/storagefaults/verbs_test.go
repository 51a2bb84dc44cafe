package storagefaults

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const storage = "/storage/ceph"

func add(volume, size string) call {
	return call{http.MethodPost, storage + "/volume", []string{"pool", pool, "volume", volume, "size", size}, ""}
}

func remove(volume string) call {
	return call{http.MethodDelete, storage + "/volume/" + pool + "/" + volume, nil, ""}
}

func snapshot(volume, name string) call {
	return call{http.MethodPost, storage + "/snapshot", []string{"pool", pool, "volume", volume, "snapshot", name}, ""}
}

func removeSnapshot(volume, name string) call {
	return call{http.MethodDelete, storage + "/snapshot/" + pool + "/" + volume + "/" + name, nil, ""}
}

func addPool(name string) call {
	return call{http.MethodPost, storage + "/pool", []string{"pool", name, "pgs", "1"}, ""}
}

func removePool(name string) call {
	return call{http.MethodDelete, storage + "/pool/" + name, []string{"yes_i_really_mean_it", "true"}, ""}
}

func change(volume string, values ...string) call {
	return call{http.MethodPut, storage + "/volume/" + pool + "/" + volume, values, ""}
}

func option(action, flag string) call {
	return call{http.MethodPost, storage + "/option", []string{"action", action, "option", flag}, ""}
}

func mark(osd, state string) call {
	return call{http.MethodPost, storage + "/osd/" + osd + "/state", []string{"state", state}, ""}
}

// act is a verb under trial.
type act struct {
	verb    string
	prepare []call
	call    call
	// done says what is wrong with what has become of it. before is what there was before
	// the call.
	done func(before, now truth) string
	// audit are words of the monitor's log that tell one execution; nil for what is none
	// of the monitor's, and for what may be repeated.
	audit []string
}

func there(of map[string]string, name string) string {
	if of[name] == "" {
		return name + " is missing"
	}
	return ""
}

func gone(of map[string]string, name string) string {
	if of[name] != "" {
		return name + " is there still: " + of[name]
	}
	return ""
}

func same(what, got, want string) string {
	if got != want {
		return fmt.Sprintf("%s: %q, expected was %q", what, got, want)
	}
	return ""
}

func id(of string) string {
	before, _, _ := strings.Cut(of, " ")
	return before
}

// acts are all verbs, working on objects of their own, whose names end in tag.
func acts(tag string) []act {
	v := func(name string) string { return name + tag }
	in := func(name string) string { return pool + "/" + v(name) }
	return []act{
		{verb: "volume_add", call: add(v("add"), "8M"),
			done: func(_, now truth) string { return there(now.Images, in("add")) }},
		{verb: "volume_remove", prepare: []call{add(v("rm"), "8M")}, call: remove(v("rm")),
			done: func(_, now truth) string { return gone(now.Images, in("rm")) }},
		{verb: "volume_resize", prepare: []call{add(v("size"), "8M")}, call: change(v("size"), "size", "16M"),
			done: func(before, now truth) string {
				return same(in("size"), now.Images[in("size")], id(before.Images[in("size")])+" 16777216")
			}},
		{verb: "volume_rename", prepare: []call{add(v("name"), "8M")}, call: change(v("name"), "name", v("named")),
			done: func(before, now truth) string {
				return gone(now.Images, in("name")) + same(in("named"), now.Images[in("named")], before.Images[in("name")])
			}},
		{verb: "snapshot_add", prepare: []call{add(v("snap"), "8M")}, call: snapshot(v("snap"), "s"),
			done: func(_, now truth) string { return there(now.Snapshots, in("snap")+"@s") }},
		{verb: "snapshot_remove", prepare: []call{add(v("unsnap"), "8M"), snapshot(v("unsnap"), "s")}, call: removeSnapshot(v("unsnap"), "s"),
			done: func(before, now truth) string {
				return gone(now.Snapshots, in("unsnap")+"@s") + same(in("unsnap"), now.Images[in("unsnap")], before.Images[in("unsnap")])
			}},
		{verb: "pool_add", call: addPool(v("pa")), audit: []string{`"osd pool create"`, `"` + v("pa") + `"`},
			done: func(_, now truth) string { return there(now.Pools, v("pa")) }},
		{verb: "pool_remove", prepare: []call{addPool(v("pr"))}, call: removePool(v("pr")), audit: []string{`"osd pool delete"`, `"` + v("pr") + `"`},
			done: func(_, now truth) string { return gone(now.Pools, v("pr")) }},
		{verb: "osd_out", prepare: []call{mark("0", "in")}, call: mark("0", "out"),
			done: func(_, now truth) string { return same("OSD 0 in", now.In["0"], "0") }},
		{verb: "osd_in", prepare: []call{mark("3", "out")}, call: mark("3", "in"),
			done: func(_, now truth) string { return same("OSD 3 in", now.In["3"], "1") }},
		{verb: "osd_set", prepare: []call{option("unset", "noscrub")}, call: option("set", "noscrub")},
		{verb: "osd_unset", prepare: []call{option("set", "nodeep-scrub")}, call: option("unset", "nodeep-scrub")},
	}
}

// flagsDone checks the flags, which have no records.
func flagsDone(t testing.TB) {
	t.Helper()
	if flags := flagsNow(t); !strings.Contains(flags, "noscrub") || strings.Contains(flags, "nodeep-scrub") {
		t.Errorf("flags %s: noscrub without nodeep-scrub was expected", flags)
	}
}

func flagsNow(t testing.TB) string {
	t.Helper()
	var m osdMap
	toolJSON(t, &m, "ceph", "osd", "dump")
	return m.Flags
}

// prepared makes what the verbs work on, which are partly the same in each test.
func prepared(t testing.TB, list []act) {
	t.Helper()
	unreserved(t)
	var first, then []call
	for _, a := range list {
		for i, c := range a.prepare {
			if i == 0 {
				first = append(first, c)
			} else {
				then = append(then, c)
			}
		}
	}
	for _, calls := range [][]call{first, then} {
		for i, got := range all(t, calls)() {
			if got.status != http.StatusOK {
				t.Fatalf("prepare: %v: %d %s", calls[i], got.status, got.text)
			}
		}
	}
}
