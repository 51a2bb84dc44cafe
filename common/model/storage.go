package model

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// maxStorageName is Ceph's limit for the name of an image (RBD_MAX_IMAGE_NAME_SIZE), in
// bytes; pools and snapshots keep to it as well.
const maxStorageName = 96

// CheckPoolName says whether s may name a new pool: see [CheckVolumeName]; "snapshot"
// is refused, as the API has a path of that name where a pool could stand.
func CheckPoolName(s string) error {
	if s == "snapshot" {
		return errs.Invalidf("pool name %q is a path of the API", s)
	}
	return checkNewName("pool", s)
}

// CheckVolumeName says whether s may name a new volume: 1 to 96 bytes of UTF-8 that
// ZooKeeper can hold, without '/', '@' (Ceph's separators) and ',' (which separates the
// volumes in a VM's record), not beginning with '.', no white space at the ends.
func CheckVolumeName(s string) error { return checkNewName("volume", s) }

// CheckSnapshotName says whether s may name a new snapshot: see [CheckVolumeName].
func CheckSnapshotName(s string) error { return checkNewName("snapshot", s) }

func checkNewName(what, s string) error {
	why := ""
	switch {
	case len(s) > maxStorageName:
		why = "at most 96 bytes are possible"
	case strings.ContainsAny(s, "@,"):
		why = "it must not contain '@' or ','"
	case strings.HasPrefix(s, "."):
		why = "it must not begin with '.'"
	case strings.TrimSpace(s) != s:
		why = "it must not begin or end with white space"
	default:
		return CheckRecordName(what, s)
	}
	return errs.Invalidf("%s name %q: %s", what, Clip(s), why)
}

// recordName is what ZooKeeper takes as an element of a path (its PathUtils), without
// what cannot be seen. Characters beyond U+FFFF are two of the refused ones to it.
var recordName = regexp.MustCompile(`^[^/\p{C}\x{FFF0}-\x{FFFF}\x{10000}-\x{10FFFF}]+$`)

// CheckRecordName says whether an object of Ceph, a "pool" for example, that somebody
// else may have named can have a record of that name. Ceph allows more than ZooKeeper.
func CheckRecordName(what, s string) error {
	why := ""
	switch {
	case s == "":
		why = "it must not be empty"
	case !utf8.ValidString(s):
		why = "it is not UTF-8"
	case s == "." || s == ".." || !recordName.MatchString(s):
		why = "it must not contain '/', control characters or characters beyond U+FFEF, nor be '.' or '..'"
	default:
		return nil
	}
	return errs.Invalidf("%s name %q: %s", what, Clip(s), why)
}

// ParseOSDID reads the id of an OSD: "3" or "osd.3".
func ParseOSDID(s string) (int, error) {
	digits := strings.TrimPrefix(s, "osd.")
	id, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || id < 0 || strconv.FormatInt(id, 10) != digits {
		return 0, errs.Invalidf("%q is not the id of an OSD: a number is needed, or osd.<number>", Clip(s))
	}
	return int(id), nil
}

// CheckOSDID says whether a number can be the id of an OSD.
func CheckOSDID(id int) error {
	_, err := ParseOSDID(strconv.Itoa(id))
	return err
}

var weightText = regexp.MustCompile(`^([0-9]+(\.[0-9]*)?|\.[0-9]+)$`)

// ParseWeight reads the CRUSH weight of an OSD: see [CheckWeight].
func ParseWeight(s string) (float64, error) {
	w, err := strconv.ParseFloat(s, 64)
	if err != nil || !weightText.MatchString(s) {
		return 0, errs.Invalidf("weight %q is not a number like 1.0", Clip(s))
	}
	return w, CheckWeight(w)
}

// CheckWeight says whether a number can be the CRUSH weight of an OSD that is to hold
// data. CRUSH counts in 1/65536 and has 16 bits before the point.
func CheckWeight(w float64) error {
	if !(w >= 1.0/65536 && w <= 65535) { // also for NaN
		return errs.Invalidf("weight %v: a number larger than 0 and at most 65535 is needed", w)
	}
	return nil
}

// MaxPGs is the largest number of placement groups that a pool can have.
const MaxPGs = 65536

// CheckPGs says whether a pool can have that number of placement groups at all (Ceph's
// mon_max_pool_pg_num); how many the cluster takes only Ceph knows.
func CheckPGs(n int) error {
	if n < 1 || n > MaxPGs {
		return errs.Invalidf("%d placement groups: a number from 1 to %d is needed", n, MaxPGs)
	}
	return nil
}

// The flags of "osd set" and "osd unset" in Ceph 16 to 19. Some cannot be taken back.
var (
	flags = []string{
		"full", "noautoscale", "nobackfill", "nodeep-scrub", "nodown", "noin", "noout", "norebalance", "norecover", "noscrub",
		"nosnaptrim", "notieragent", "noup", "pause",
	}
	flagsForGood = []string{"pglog_hardlimit", "recovery_deletes", "require_jewel_osds", "require_kraken_osds", "sortbitwise"}
)

// CheckFlag says whether Ceph has a flag of that name that can be set, or unset.
func CheckFlag(flag string, set bool) error {
	known := flags
	if set {
		known = slices.Concat(flags, flagsForGood)
	} else if slices.Contains(flagsForGood, flag) {
		return errs.Invalidf("option %q cannot be unset: Ceph keeps it once it is set", flag)
	}
	if !slices.Contains(known, flag) {
		return errs.Invalidf("option %q is unknown to Ceph; it has %s", Clip(flag), strings.Join(known, ", "))
	}
	return nil
}

// maxDevicePath is more than any device has and less than what makes messages unreadable.
const maxDevicePath = 255

var devicePath = regexp.MustCompile(`^/dev/[^\s\p{C}]+$`)

// CheckDevicePath says whether s has the form of a block device's path: absolute, below
// /dev, without "..", "//" and white space. Whether it exists only its host knows.
func CheckDevicePath(s string) error {
	if len(s) > maxDevicePath || !devicePath.MatchString(s) || path.Clean(s) != s || !utf8.ValidString(s) {
		return errs.Invalidf("device %q: the path of a block device below /dev is needed, as /dev/sdb", Clip(s))
	}
	return nil
}
