package osd

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// mount is an entry of /proc/self/mountinfo (proc(5)).
type mount struct {
	device string // "8:1"
	source string // "/dev/sda1", or a word
	point  string
}

// parseMounts reads /proc/self/mountinfo. A line of another form is left out: what it is
// for, to tell that a device is in use, the kernel says as well when it is asked.
func parseMounts(text string) []mount {
	var all []mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 {
			continue
		}
		all = append(all, mount{device: left[2], source: unescape(right[1]), point: unescape(left[4])})
	}
	return all
}

// parseSwaps reads the files and devices of /proc/swaps, below a line of titles.
func parseSwaps(text string) []string {
	var all []string
	_, text, _ = strings.Cut(text, "\n")
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) >= 5 {
			all = append(all, unescape(fields[0]))
		}
	}
	return all
}

// unescape undoes how the kernel writes blanks in paths: \040.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// parseSignatures reads what wipefs --json prints; nothing stands for none.
func parseSignatures(data []byte) ([]Signature, error) {
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil, nil
	}
	var out struct{ Signatures []Signature }
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read the answer of wipefs: %w", err)
	}
	return out.Signatures, nil
}

// labelHead is how BlueStore's label begins, and labelSize how much of it is read: that,
// the OSD's uuid and the end of a line.
const (
	labelHead = "bluestore block device\n"
	labelSize = len(labelHead) + 37
)

// parseLabel returns the OSD's uuid in the beginning of a device; ok is false if there is
// no label of BlueStore.
func parseLabel(head []byte) (uuid string, ok bool) {
	text, ok := strings.CutPrefix(string(head), labelHead)
	if !ok || len(text) < 37 || text[36] != '\n' {
		return "", false
	}
	if uuid, ok = model.ParseUUID(text[:36]); !ok {
		return "", false
	}
	return uuid, true
}

// volume is a logical volume that bears the tags of an OSD.
type volume struct {
	path  string // "/dev/group/name"
	group string
	tags  map[string]string // without "ceph."
}

// lvsColumns are what lvs is asked for.
const lvsColumns = "lv_path,vg_name,lv_tags"

// tagPattern is a tag as ceph-volume makes them.
var tagPattern = regexp.MustCompile(`^ceph\.([a-z_]+)=(.*)$`)

// parseVolumes reads what lvs --reportformat json prints of lvsColumns: all volumes that
// bear an OSD's uuid.
func parseVolumes(data []byte) ([]volume, error) {
	var out struct {
		Report []struct {
			LV []struct {
				Path  string `json:"lv_path"`
				Group string `json:"vg_name"`
				Tags  string `json:"lv_tags"`
			}
		}
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read the answer of lvs: %w", err)
	}
	var all []volume
	for _, r := range out.Report {
		for _, lv := range r.LV {
			v := volume{path: lv.Path, group: lv.Group, tags: map[string]string{}}
			for tag := range strings.SplitSeq(lv.Tags, ",") {
				if m := tagPattern.FindStringSubmatch(tag); m != nil {
					v.tags[m[1]] = m[2]
				}
			}
			if v.tags["osd_fsid"] != "" {
				all = append(all, v)
			}
		}
	}
	return all, nil
}

// parsePhysical reads what pvs --reportformat json prints of vg_name and pv_name.
func parsePhysical(data []byte) (groups map[string][]string, err error) {
	var out struct {
		Report []struct {
			PV []struct {
				Name  string `json:"pv_name"`
				Group string `json:"vg_name"`
			}
		}
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read the answer of pvs: %w", err)
	}
	groups = map[string][]string{}
	for _, r := range out.Report {
		for _, pv := range r.PV {
			groups[pv.Group] = append(groups[pv.Group], pv.Name)
		}
	}
	return groups, nil
}
