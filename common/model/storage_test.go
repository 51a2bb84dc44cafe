package model_test

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

const gib = 1 << 30

func TestSizesAreBytesOrPowersOf1024(t *testing.T) {
	for text, want := range map[string]model.Size{
		"1": 1, "1073741824": gib, "4096M": 4 * gib, "20G": 20 * gib, "20g": 20 * gib, "7B": 7, "7b": 7, "3k": 3072, "0001K": 1024,
		"2T": 2048 * gib, "1p": 1 << 50, "9223372036854775807": math.MaxInt64, "8191P": 8191 << 50,
	} {
		if got, err := model.ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestOtherSizesAreRefusedWithTheirText(t *testing.T) {
	for _, text := range []string{
		"", "0", "0G", "-1", "-1G", "+1", "1.5G", "1e3", "1_000", "0x10", "G", " 1G", "1 G", "1GB", "1GiB", "1Z", "1E", "½G", "١",
		"9223372036854775808", "8192P", "18446744073709551616", "99999999999999999999999", "9007199254740992K", strings.Repeat("9", 500),
	} {
		got, err := model.ParseSize(text)
		if !errs.Is(err, errs.Invalid) || got != 0 || !strings.Contains(err.Error(), strconv.Quote(model.Clip(text))) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestASizeIsShownInTheSmallestUnitUpTo9999(t *testing.T) {
	for size, want := range map[model.Size]string{
		0: "0B", 1: "1B", 9999: "9999B", 10000: "10K", gib: "1024M", 4 * gib: "4096M", 10 * gib: "10G", 20*gib + 1: "21G",
		9999 * gib: "9999G", 9999*gib + 1: "10T", model.MaxSize: "8192P", math.MaxUint64: "16384P",
	} {
		if got := size.String(); got != want {
			t.Errorf("%d is shown as %s, want %s", uint64(size), got, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1", "20G", "0", "-3", "1.5T", "9223372036854775808", "8192P", "18446744073709551615", "1K1", "B"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		size, err := model.ParseSize(s)
		if err != nil {
			if !errs.Is(err, errs.Invalid) || size != 0 {
				t.Fatalf("%q: %d, %v", s, size, err)
			}
			return
		}
		if size == 0 || size > model.MaxSize {
			t.Fatalf("%q is %d", s, size)
		}
		if again, err := model.ParseSize(strconv.FormatUint(uint64(size), 10) + "B"); err != nil || again != size {
			t.Errorf("%q is %d and back %d, %v", s, size, again, err)
		}
		// What is shown is never less, and less than one unit more.
		shown := size.String()
		unit := model.Size(1) << (10 * strings.IndexByte("BKMGTP", shown[len(shown)-1]))
		n, err := strconv.ParseUint(shown[:len(shown)-1], 10, 64)
		if err != nil || n > 9999 || model.Size(n)*unit < size || model.Size(n-1)*unit >= size {
			t.Errorf("%d is shown as %s", size, shown)
		}
	})
}

func TestNamesOfStorageKeepToTheRulesOfCephAndZooKeeper(t *testing.T) {
	good := []string{"a", "vms", "web1_disk0", "Web 1", "ä", "日本", "a.b", "-x", strings.Repeat("x", 96), "a:b", "snapshots"}
	bad := []string{
		"", ".", "..", ".mgr", "a/b", "a@b", "a,b", "a\nb", "a\x00", "\u007f", "\u0085", " a", "a ", "\u00a0a", strings.Repeat("x", 97),
		strings.Repeat("ä", 49), "a\xff", "\U0001F600", "\ufffd", "\u200b", "\ue000",
	}
	for what, check := range map[string]func(string) error{"pool": model.CheckPoolName, "volume": model.CheckVolumeName, "snapshot": model.CheckSnapshotName} {
		for _, s := range good {
			if err := check(s); err != nil {
				t.Errorf("%s %q: %v", what, s, err)
			}
		}
		for _, s := range bad {
			if err := check(s); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), what) {
				t.Errorf("%s %q: %v", what, s, err)
			}
		}
	}
	if err := model.CheckPoolName("snapshot"); !errs.Is(err, errs.Invalid) {
		t.Errorf("the pool snapshot: %v", err)
	}
	for s, ok := range map[string]bool{".mgr": true, "a,b": true, "a@b": true, " a ": true, "..": false, "": false, "a/b": false, "\U0001F600": false, "a\xff": false} {
		if err := model.CheckRecordName("pool", s); (err == nil) != ok {
			t.Errorf("a record of %q: %v", s, err)
		}
	}
}

func TestAnOSDIsANumberWithOrWithoutItsPrefix(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "3": 3, "osd.3": 3, "osd.120": 120, "2147483647": math.MaxInt32} {
		if got, err := model.ParseOSDID(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "osd.", "osd", "osd.osd.3", "03", "-1", "+1", "3 ", "3.0", "OSD.3", "2147483648", "x"} {
		if got, err := model.ParseOSDID(text); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestAWeightIsWhatCRUSHCanCount(t *testing.T) {
	for text, want := range map[string]float64{"1": 1, "1.0": 1, "0.5": 0.5, ".5": 0.5, "2.": 2, "65535": 65535, "0.0001": 0.0001} {
		if got, err := model.ParseWeight(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "0.0", "-1", "+1", "inf", "NaN", "1e5", "0x1p2", "0.00001", "65536", "1,5", "1_0", ".", strings.Repeat("9", 400)} {
		if got, err := model.ParseWeight(text); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if err := model.CheckWeight(math.NaN()); err == nil {
		t.Error("a weight that is no number was accepted")
	}
}

func TestOnlyFlagsOfCephAreFlags(t *testing.T) {
	for _, tt := range []struct {
		flag       string
		set, unset bool
	}{
		{"noout", true, true}, {"nodeep-scrub", true, true}, {"pause", true, true}, {"noautoscale", true, true},
		{"sortbitwise", true, false}, {"require_jewel_osds", true, false}, {"", false, false}, {"nout", false, false}, {"NOOUT", false, false}, {"noout,noin", false, false},
	} {
		for on, want := range map[bool]bool{true: tt.set, false: tt.unset} {
			if err := model.CheckFlag(tt.flag, on); (err == nil) != want || err != nil && !errs.Is(err, errs.Invalid) {
				t.Errorf("%q, set %v: %v", tt.flag, on, err)
			}
		}
	}
}

func TestADevicePathIsCleanAndBelowDev(t *testing.T) {
	for _, s := range []string{"/dev/sdb", "/dev/disk/by-id/wwn-0x5", "/dev/vg/lv", "/dev/nvme0n1"} {
		if err := model.CheckDevicePath(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "sdb", "/dev", "/dev/", "/dev//sdb", "/dev/../etc/shadow", "/dev/./sdb", "/devices/x", "/dev/a b", "/dev/a\n", "dev/sdb", "/dev/\xff", "/dev/" + strings.Repeat("x", 255)} {
		if err := model.CheckDevicePath(s); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzNamesOfStorage(f *testing.F) {
	for _, s := range []string{"vms", ".mgr", "a/b", "..", "ä", "\U0001F600", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if model.CheckVolumeName(s) == nil && (model.CheckRecordName("volume", s) != nil || strings.ContainsAny(s, "/@,\x00\n") || len(s) > 96) {
			t.Errorf("%q may name a volume", s)
		}
		if model.CheckPoolName(s) == nil && model.CheckVolumeName(s) != nil {
			t.Errorf("%q may name a pool and no volume", s)
		}
		if id, err := model.ParseOSDID(s); err == nil && s != strconv.Itoa(id) && s != "osd."+strconv.Itoa(id) {
			t.Errorf("%q is OSD %d", s, id)
		}
		if w, err := model.ParseWeight(s); err == nil && !(w > 0 && w < 65536) {
			t.Errorf("%q is the weight %v", s, w)
		}
	})
}
