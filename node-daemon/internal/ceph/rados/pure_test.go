package rados

import (
	"encoding/binary"
	"encoding/json"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

func TestSizesAreWrittenAsTheToolsDo(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 10239: "10 KiB", 1<<20 - 1: "1024 KiB", 891432 << 10: "871 MiB",
		11691480 << 10: "11 GiB", 12 << 30: "12 GiB", 1<<30 + 1<<29: "1.5 GiB", 3<<40 + 1: "3.0 TiB", 1<<64 - 1: "16 EiB",
	} {
		if got := inUnits(bytes); got != want {
			t.Errorf("%d bytes are %q, want %q", bytes, got, want)
		}
	}
}

func TestTableIsAlignedByBytes(t *testing.T) {
	u := usage{Pools: []poolUsage{{Name: "ein Näme", ID: 2}, {Name: "vms", ID: 1, poolStat: poolStat{Bytes: 8192, KB: 8, Objects: 1, Copies: 2, WriteOps: 2, WriteBytes: 2048}}},
		Objects: 1, UsedKB: 891476, AvailKB: 11691436, SpaceKB: 12582912}
	// As `rados df` of Ceph 16.2.15 has printed it.
	const want = `POOL_NAME   USED  OBJECTS  CLONES  COPIES  MISSING_ON_PRIMARY  UNFOUND  DEGRADED  RD_OPS   RD  WR_OPS     WR  USED COMPR  UNDER COMPR
ein Näme    0 B        0       0       0                   0        0         0       0  0 B       0    0 B         0 B          0 B
vms        8 KiB        1       0       2                   0        0         0       0  0 B       2  2 KiB         0 B          0 B

total_objects    1
total_used       871 MiB
total_avail      11 GiB
total_space      12 GiB
`
	if diff := cmp.Diff(want, u.text()); diff != "" {
		t.Error(diff)
	}
}

func TestTrafficIsReadFromTheTable(t *testing.T) {
	const text = `ID  HOST   USED  AVAIL  WR OPS  WR DATA  RD OPS  RD DATA  STATE
 0  vm     290M  3805M      1        0       3       26   exists,up
 1         290M  3805M   1.5k     2.0M      84     2117   autoout,exists
 2  vm      0      0       x        0       0        0   exists,new

`
	want := map[int]ceph.Traffic{
		0: {WriteOps: 1, ReadOps: 3, ReadBytes: 26},
		1: {WriteOps: 1500, WriteBytes: 2 << 20, ReadOps: 84, ReadBytes: 2117},
	}
	if diff := cmp.Diff(want, parseTraffic(text)); diff != "" {
		t.Error(diff)
	}
}

func FuzzTraffic(f *testing.F) {
	f.Add("0 vm 290M 3805M 1 0 3 26 exists,up\n")
	f.Add("1 290M 3805M 1.5k 2.0M 84 2117 autoout")
	f.Add("k k k k k k k k k")
	f.Fuzz(func(t *testing.T, text string) {
		for id, v := range parseTraffic(text) {
			if v.ReadOps < 0 || v.WriteOps < 0 || v.ReadBytes < 0 || v.WriteBytes < 0 {
				t.Errorf("osd.%d: %+v", id, v)
			}
		}
	})
}

func TestAddressIsTheOneThatTheBlocklistTakes(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1:0/123": "192.0.2.1:0/123", "v2:192.0.2.1:0/123": "192.0.2.1:0/123", "[v2:192.0.2.1:0/123]": "192.0.2.1:0/123",
		"v1:192.0.2.1:6789/0": "192.0.2.1:6789/0", "[2001:db8::1]:0/7": "[2001:db8::1]:0/7", "v2:[2001:db8::1]:0/7": "[2001:db8::1]:0/7",
		"[v2:[2001:db8::1]:0/7]": "[2001:db8::1]:0/7", "any:192.0.2.1:0/123": "192.0.2.1:0/123",
	} {
		if got, err := plainAddress(text); got != want || err != nil {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-", ":/0", "[v2:192.0.2.1:0/1,v1:192.0.2.1:0/2]", "192.0.2.0:0/24/1", "192.0.2.1:0/-1"} {
		if got, err := plainAddress(text); err == nil {
			t.Errorf("%q is %q, want an error", text, got)
		}
	}
}

func FuzzAddress(f *testing.F) {
	f.Add("v2:192.0.2.1:0/123")
	f.Add("[v2:[2001:db8::1]:0/7]")
	f.Fuzz(func(t *testing.T, text string) {
		plain, err := plainAddress(text)
		if err != nil {
			return
		}
		if again, err := plainAddress(plain); err != nil || again != plain {
			t.Errorf("%q is %q, and that is %q, %v", text, plain, again, err)
		}
	})
}

func FuzzString(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 'a'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeString(b)
		if err != nil {
			return
		}
		if again, err := decodeString(encodeString(s)); err != nil || again != s {
			t.Errorf("%q reads back %q, %v", s, again, err)
		}
	})
}

func TestNumbersThatNeedAPointHaveOne(t *testing.T) {
	text, err := json.Marshal([]decimal{1, 1.5, 315360000, 0.25})
	if err != nil || string(text) != "[1.0,1.5,315360000.0,0.25]" {
		t.Errorf("%s, %v", text, err)
	}
}

func TestOnlyASafeOSDIsSafe(t *testing.T) {
	for _, c := range []struct {
		answer string
		safe   bool
	}{
		{`{"safe_to_destroy":[3],"active":[],"missing_stats":[],"stored_pgs":[]}`, true},
		{`{"safe_to_destroy":[],"active":[3],"missing_stats":[],"stored_pgs":[]}`, false},
		{`{"safe_to_destroy":[3],"active":[3],"missing_stats":[],"stored_pgs":[]}`, false},
		{`{"safe_to_destroy":[],"active":[],"missing_stats":[3],"stored_pgs":[]}`, false},
		{`{"safe_to_destroy":[],"active":[],"missing_stats":[],"stored_pgs":[3]}`, false},
		{`{"safe_to_destroy":[4]}`, false},
		{`{}`, false},
	} {
		var s safety
		must(t, json.Unmarshal([]byte(c.answer), &s))
		if safe, why := s.of(3); safe != c.safe || (why == "") != c.safe {
			t.Errorf("%s: %v, %q", c.answer, safe, why)
		}
	}
	if safe, why := (safety{why: "unknown state", Safe: []int{3}}).of(3); safe || why != "unknown state" {
		t.Errorf("%v, %q", safe, why)
	}
}

func TestFeaturesAreNamedInTheOrderOfTheirBits(t *testing.T) {
	if diff := cmp.Diff([]string{"layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten"}, featureNames(61)); diff != "" {
		t.Error(diff)
	}
}

func TestLostChangesAreUnknownUnlessTheyWereNotSent(t *testing.T) {
	cluster := Open(Options{})
	l := &link{ended: make(chan struct{})}
	down := ceph.Refused(syscall.ETIMEDOUT, "")
	for _, c := range []struct {
		err  error
		e    effect
		want errs.Kind
	}{
		{down, reads, errs.Unavailable}, {down, changes, errs.Unknown}, {notSent{down}, changes, errs.Unavailable},
		{ceph.Refused(syscall.ESHUTDOWN, ""), changes, errs.Unknown}, {ceph.Refused(syscall.EBUSY, ""), changes, errs.Conflict},
	} {
		if err := cluster.classify(cluster.lanes[short], l, c.err, c.e); !errs.Is(err, c.want) {
			t.Errorf("%v (changes: %v) is %v, want %v", c.err, c.e, errs.KindOf(err), c.want)
		}
	}
}

func TestHeadersAreReadOrRefused(t *testing.T) {
	if order, size, err := decodeSize([]byte{22, 0, 0, 0, 0x40, 0, 0, 0, 0}); order != 22 || size != 1<<30 || err != nil {
		t.Errorf("order %d, size %d, %v", order, size, err)
	}
	want := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	made := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(want.Unix())), 89)
	if got, err := decodeTime(made); !got.Equal(want) || err != nil {
		t.Errorf("made at %v, %v; want %v", got, err, want)
	}
	for _, b := range [][]byte{nil, make([]byte, 7), append([]byte{64}, make([]byte, 8)...)} {
		if order, size, err := decodeSize(b); err == nil {
			t.Errorf("%x is order %d, size %d", b, order, size)
		}
	}
	if got, err := decodeTime(made[:7]); err == nil {
		t.Errorf("seven bytes are %v", got)
	}
}

func TestObjectsOfAnImageCoverIt(t *testing.T) {
	for _, c := range []struct {
		size uint64
		want uint64
	}{{0, 0}, {1, 1}, {1 << 22, 1}, {1<<22 + 1, 2}, {1 << 30, 256}, {1<<64 - 1, 1 << 42}} {
		if got := objectsOf(c.size, 22); got != c.want {
			t.Errorf("%d bytes: %d objects, want %d", c.size, got, c.want)
		}
	}
}
