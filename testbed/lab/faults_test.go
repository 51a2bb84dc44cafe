package lab

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRacesAndPanicsAreFoundButTheLibrarysOwn(t *testing.T) {
	own := "WARNING: DATA RACE\nWrite at 0x00c0001 by goroutine 7:\n  github.com/parallelvirtualcluster/pvc/common/view.(*View).Run()\n\nPrevious read at 0x00c0001 by goroutine 8:\n  github.com/go-zookeeper/zk.(*Conn).recvLoop()"
	librarys := "WARNING: DATA RACE\nRead at 0x00c0001 by goroutine 7:\n  github.com/go-zookeeper/zk.(*Conn).sendSetWatches()\n\nPrevious write at 0x00c0001 by goroutine 8:\n  github.com/go-zookeeper/zk.(*Conn).recvLoop()"
	for _, tt := range []struct {
		name, log string
		want      []string
	}{
		{"quiet", "level=INFO msg=started", nil},
		{"a race of ours", own, []string{own}},
		{"the library's race with itself", librarys, nil},
		{"a panic", "level=INFO\npanic: no", []string{"panic: no"}},
		{"the word in a message", `level=WARN msg="kernel panic: no"`, nil},
		{"fatal", "fatal error: concurrent map writes", []string{"fatal error: concurrent map writes"}},
	} {
		if diff := cmp.Diff(tt.want, FaultsIn(strings.Split(tt.log, "\n"))); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}
