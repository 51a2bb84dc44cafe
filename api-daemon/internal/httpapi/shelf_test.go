package httpapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// states returns name=state of every VM of an answer.
func states(t *testing.T, body []byte) []string {
	t.Helper()
	var list []struct{ Name, State string }
	if err := json.Unmarshal(body, &list); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	out := []string{}
	for _, vm := range list {
		out = append(out, vm.Name+"="+vm.State)
	}
	return out
}

// decision: lists
// decision: `limit`
// decision: filters
func TestListShowsAChangeInTheNextAnswer(t *testing.T) {
	b := newBench(t)
	look := func(target string) []string { return states(t, b.serve(asked("GET", target)).Body.Bytes()) }
	for _, state := range []model.VMState{model.VMStop, model.VMStart, model.VMShutdown} {
		changed := *b.picture.vms[1]
		changed.State = state
		b.picture.replace(&changed)
		for target, want := range map[string][]string{
			"/api/v1/vm":                      {"db1=stop", "web1=" + string(state)},
			"/api/v1/vm?limit=web":            {"web1=" + string(state)},
			"/api/v1/vm/web1":                 {"web1=" + string(state)},
			"/api/v1/vm/" + web1:              {"web1=" + string(state)},
			"/api/v1/vm?limit=^1111":          {"web1=" + string(state)},
			"/api/v1/vm/nothing":              {},
			"/api/v1/vm?node=hv2&state=start": {},
			"/api/v1/vm?node=hv2&state=stop":  {"db1=stop"},
			"/api/v1/vm?limit=WEB":            {},
			"/api/v1/vm?limit=^db1$":          {"db1=stop"},
			"/api/v1/vm?limit=web|db":         {"db1=stop", "web1=" + string(state)},
		} {
			if diff := cmp.Diff(want, look(target)); diff != "" {
				t.Errorf("%s: %s", target, diff)
			}
		}
	}
}

// decision: unchanged lists
func TestETagChangesWithTheListAndIsOfThisProcess(t *testing.T) {
	b := newBench(t)
	ask := func(tag string) *httptest.ResponseRecorder {
		r := asked("GET", "/api/v1/vm")
		if tag != "" {
			r.Header.Set("If-None-Match", tag)
		}
		return b.serve(r)
	}
	first := ask("").Header().Get("ETag")
	for _, tag := range []string{first, `"x", ` + first, "*", first[2:]} {
		if w := ask(tag); w.Code != http.StatusNotModified || w.Body.Len() != 0 || w.Header().Get("ETag") != first {
			t.Errorf("If-None-Match %s: %d", tag, w.Code)
		}
	}
	changed := *b.picture.vms[0]
	b.picture.replace(&changed)
	if w := ask(first); w.Code != 200 || w.Header().Get("ETag") == first {
		t.Errorf("after a change: %d, ETag %s", w.Code, w.Header().Get("ETag"))
	}
	if other := newBench(t).serve(asked("GET", "/api/v1/vm")).Header().Get("ETag"); other == first {
		t.Error("another process has the same ETag")
	}
}

func TestListIsCompressedIfAsked(t *testing.T) {
	b := newBench(t)
	for i := range 20 {
		vm := *b.picture.vms[0]
		vm.UUID = fmt.Sprintf("33333333-3333-4333-8333-%012d", i)
		vm.Name = fmt.Sprintf("vm%02d", i)
		b.picture.vms = append(b.picture.vms, &vm)
	}
	plain := b.serve(asked("GET", "/api/v1/vm"))
	for accept, zipped := range map[string]bool{"gzip": true, "br, GZIP;q=0.5": true, "gzip;q=0": false, "identity": false, "": false} {
		r := asked("GET", "/api/v1/vm")
		r.Header.Set("Accept-Encoding", accept)
		w := b.serve(r)
		if (w.Header().Get("Content-Encoding") == "gzip") != zipped || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: %v", accept, w.Header())
			continue
		}
		body := w.Body.Bytes()
		if zipped {
			body = unzip(t, body)
		}
		if !bytes.Equal(body, plain.Body.Bytes()) {
			t.Errorf("%q: the content differs", accept)
		}
	}
}

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// counted counts Writes.
type counted struct {
	http.ResponseWriter
	writes int
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes++
	return c.ResponseWriter.Write(p)
}

func TestAShortListIsOneWrite(t *testing.T) {
	b := newBench(t)
	for _, target := range []string{"/api/v1/vm", "/api/v1/node", "/api/v1/vm?limit=1"} {
		w := &counted{ResponseWriter: httptest.NewRecorder()}
		b.ServeHTTP(w, asked("GET", target))
		if w.writes != 1 {
			t.Errorf("%s: %d writes", target, w.writes)
		}
	}
}

func joined(parts [][]byte) string { return string(bytes.Join(parts, nil)) }

func TestAChangeCopiesAPieceOfTheList(t *testing.T) {
	const n = 4 * manyItems
	s := newShelf[int]()
	items := make([]item[int], n)
	for i := range items {
		items[i] = item[int]{strconv.Itoa(i), i}
	}
	generation := uint64(0)
	list := func() [][]byte {
		generation++
		return s.whole(generation, func() (uint64, []item[int]) { return generation, slices.Clone(items) }, func(v int) []byte { return fmt.Append(nil, v) }).parts
	}
	before := list()
	items[manyItems].of = -1
	for i, part := range list() {
		if same := &part[0] == &before[i][0]; same != (i != 1) {
			t.Errorf("piece %d is the old one: %v", i, same)
		}
	}
	items = append(items, item[int]{"more", 7})
	if got := joined(list()); !strings.HasSuffix(got, fmt.Sprintf(",%d,7]\n", n-1)) || !json.Valid([]byte(got)) {
		t.Errorf("with one more: …%s", got[len(got)-20:])
	}
	items = items[:manyItems]
	if got := joined(list()); !json.Valid([]byte(got)) || !strings.HasSuffix(got, fmt.Sprintf(",%d]\n", manyItems-1)) {
		t.Errorf("with less: …%s", got[len(got)-20:])
	}
}

func TestObjectsAreRenderedOncePerChange(t *testing.T) {
	s := newShelf[int]()
	rendered := 0
	render := func(v int) []byte { rendered++; return fmt.Append(nil, v) }
	items := []item[int]{{"a", 1}, {"b", 2}}
	list := func(generation uint64) string {
		return joined(s.whole(generation, func() (uint64, []item[int]) { return generation, items }, render).parts)
	}
	if got := list(1); got != "[1,2]\n" || rendered != 2 {
		t.Errorf("%q, %d rendered", got, rendered)
	}
	if got := list(1); got != "[1,2]\n" || rendered != 2 {
		t.Errorf("again: %q, %d rendered", got, rendered)
	}
	items = []item[int]{{"b", 3}, {"c", 4}}
	if got := list(2); got != "[3,4]\n" || rendered != 4 {
		t.Errorf("after a change: %q, %d rendered", got, rendered)
	}
	if got := string(s.get("c", 4, render)); got != "4" || rendered != 4 {
		t.Errorf("one object: %q, %d rendered", got, rendered)
	}
	if len(s.items) != 2 {
		t.Errorf("%d objects are kept", len(s.items))
	}
}

func TestListsAreRightUnderConcurrentChanges(t *testing.T) {
	b := newBench(t)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, target := range []string{"/api/v1/vm", "/api/v1/node", "/api/v1/vm/web1"} {
					if w := b.serve(asked("GET", target)); w.Code != 200 || !json.Valid(w.Body.Bytes()) {
						t.Errorf("%s: %d %s", target, w.Code, w.Body)
						return
					}
				}
			}
		})
	}
	for i := range 200 {
		changed := *b.picture.vms[1]
		changed.FailedReason = fmt.Sprint(i)
		b.picture.replace(&changed)
		w := b.serve(asked("GET", "/api/v1/vm"))
		if !bytes.Contains(w.Body.Bytes(), fmt.Appendf(nil, `"failed_reason":"%d"`, i)) {
			t.Errorf("change %d is not in the next list", i)
		}
	}
	close(stop)
	readers.Wait()
}

func TestVMWithUnreadableXMLIsShownWithTheError(t *testing.T) {
	b := newBench(t)
	broken := *b.picture.vms[1]
	broken.XML = "<domain><name>web1</na"
	b.picture.replace(&broken)
	var list []vmJSON
	if err := json.Unmarshal(b.serve(asked("GET", "/api/v1/vm")).Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[1].Name != "web1" || list[1].Error == "" || list[1].XML != broken.XML || list[1].State != "start" {
		t.Errorf("%+v", list)
	}
	if list[0].Error != "" || list[0].Memory != 64 {
		t.Errorf("another VM: %+v", list[0])
	}
}

// decision: health
// decision: provisioned memory
// decision: daemon state
func TestNodeShowsWhatIsAssignedToIt(t *testing.T) {
	b := newBench(t)
	var list []nodeJSON
	look := func() {
		if err := json.Unmarshal(b.serve(asked("GET", "/api/v1/node")).Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if list[0].Memory.Provisioned != 64 || list[1].Memory.Provisioned != 64 {
		t.Errorf("%+v", list)
	}
	moved := *b.picture.vms[1]
	moved.Node = "hv2"
	b.picture.replace(&moved)
	look()
	if list[0].Memory.Provisioned != 0 || list[1].Memory.Provisioned != 128 {
		t.Errorf("after a move: %+v", list)
	}
	if list[0].Version != "9.9" || list[0].Health != 100 || list[1].Version != "9.8" || list[1].Health != 90 ||
		list[1].HealthDetails[0].Message != "no time source" || list[1].DaemonState != "dead" || list[1].CoordinatorState != "client" {
		t.Errorf("%+v", list)
	}
}

// decision: filters
func TestNodeFiltersAreExactAndCombined(t *testing.T) {
	b := newBench(t)
	for query, want := range map[string]int{
		"": 2, "?limit=hv": 2, "?limit=2": 1, "?daemon_state=run": 1, "?daemon_state=dead": 1, "?coordinator_state=client": 1,
		"?domain_state=flushed": 1, "?domain_state=ready&daemon_state=dead": 0, "/hv1": 1, "/hv": 0,
	} {
		var list []nodeJSON
		w := b.serve(asked("GET", "/api/v1/node"+query))
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != want {
			t.Errorf("%q: %v %s", query, err, w.Body)
		}
	}
}

func TestNumbersThatJSONCannotWriteAreZero(t *testing.T) {
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if got := nodeAnswer(&model.Node{CPULoad: f}, 0).Load; got != 0 {
			t.Errorf("%v became %v", f, got)
		}
	}
}

func TestALongListIsInOrderWhoeverRendersIt(t *testing.T) {
	render := func(n int) []byte { return []byte(strconv.Itoa(n)) }
	for _, n := range []int{0, 1, manyItems - 1, manyItems, 10*manyItems + 1} {
		var items []item[int]
		want := []string{}
		for i := range n {
			items = append(items, item[int]{strconv.Itoa(i), i})
			want = append(want, strconv.Itoa(i))
		}
		text := "[" + strings.Join(want, ",") + "]\n"
		s := newShelf[int]()
		list := s.whole(1, func() (uint64, []item[int]) { return 1, items }, render)
		if got := joined(list.parts); got != text {
			t.Errorf("list of %d items is %.80s", n, got)
		}
		if got := s.some(items, func(int) []byte { return []byte("made again") }); joined(got) != text {
			t.Errorf("list of %d kept items is %.80s", n, got)
		}
	}
}
