package ceph

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testConfig() Config {
	return Config{FSID: "f", MonAddr: "10.0.0.11", Addr: "10.0.0.12", Hosts: []string{"a", "b"}, OSDs: 3, Copies: 2, OSDSize: 1 << 30}
}

// sections of a ceph.conf, each setting by its name; of two the later counts.
func sections(text string) map[string]map[string]string {
	all, name := map[string]map[string]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			name = strings.Trim(line, "[]")
			all[name] = map[string]string{}
		} else if key, value, ok := strings.Cut(line, " ="); ok {
			all[name][key] = strings.TrimSpace(value)
		}
	}
	return all
}

func TestHostsDifferInTheAddressOfTheirOSDsOnly(t *testing.T) {
	c := testConfig()
	other := c
	other.Addr = "10.0.0.13"
	a, b := sections(c.Text()), sections(other.Text())
	for _, key := range []string{"public addr", "cluster addr"} {
		if a["osd"][key] != c.Addr || b["osd"][key] != other.Addr {
			t.Errorf("%s: %q and %q", key, a["osd"][key], b["osd"][key])
		}
		delete(a["osd"], key)
		delete(b["osd"], key)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
}

func TestEveryPathIsBelowTheRoot(t *testing.T) {
	c := testConfig()
	c.Root = "/tmp/x"
	for name, section := range sections(c.Text()) {
		for key, value := range section {
			if strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "/tmp/x/") && value != managerPath {
				t.Errorf("[%s] %s = %s", name, key, value)
			}
		}
	}
	for _, arg := range c.Command("osd.1")[1:] {
		if strings.HasPrefix(arg, "/") && !strings.HasPrefix(arg, "/tmp/x/") {
			t.Errorf("argument %s", arg)
		}
	}
}

func TestExtraSettingsCount(t *testing.T) {
	c := testConfig()
	c.Extra = map[string]string{"osd pool default size": "3"}
	if got := sections(c.Text())["global"]["osd pool default size"]; got != "3" {
		t.Errorf("size %q", got)
	}
}

func TestCopiesAreOnDifferentHostsIfThereAreEnough(t *testing.T) {
	for _, tc := range []struct {
		hosts, osds, copies int
		want                string
	}{
		{3, 3, 2, "host"}, {3, 2, 2, "host"}, {3, 1, 2, "osd"}, {1, 3, 2, "osd"}, {1, 1, 1, "host"},
	} {
		c := Config{Hosts: make([]string, tc.hosts), OSDs: tc.osds, Copies: tc.copies}
		if got := levels[c.failureDomain()]; got != tc.want {
			t.Errorf("%d copies, %d OSDs on %d hosts: %s, want %s", tc.copies, tc.osds, tc.hosts, got, tc.want)
		}
	}
}

func TestCrushMapHasEveryOSDOnce(t *testing.T) {
	text := testConfig().crushMap()
	for _, want := range []string{"item osd.0 weight 1.000\n", "item osd.1 weight 1.000\n", "item osd.2 weight 1.000\n",
		"item a weight 2.000\n", "item b weight 1.000\n"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("not once: %q in\n%s", want, text)
		}
	}
}

func TestKeysAreDifferentAndOfTheLengthThatCephWants(t *testing.T) {
	seen := map[string]bool{}
	for entity, key := range testConfig().NewKeys() {
		b, err := base64.StdEncoding.DecodeString(key)
		if err != nil || len(b) != 28 || seen[key] {
			t.Errorf("%s: %d bytes, seen %v, %v", entity, len(b), seen[key], err)
		}
		if capabilities(entity) == nil {
			t.Errorf("%s may do nothing", entity)
		}
		seen[key] = true
	}
	if len(seen) != 6+3 {
		t.Errorf("%d keys", len(seen))
	}
}

func TestStatusKnowsHealth(t *testing.T) {
	for name, tc := range map[string]struct {
		text             string
		healthy, serving bool
		fault            string
	}{
		"healthy": {`{"health":{"status":"HEALTH_OK","checks":{}},"osdmap":{"num_osds":3,"num_up_osds":3,"num_in_osds":3},"mgrmap":{"available":true},
			"pgmap":{"pgs_by_state":[{"state_name":"active+clean","count":8}]}}`, true, true, ""},
		"no pool":    {`{"health":{"status":"HEALTH_OK"},"osdmap":{"num_osds":3,"num_up_osds":3,"num_in_osds":3},"mgrmap":{"available":true},"pgmap":{}}`, true, true, ""},
		"no manager": {`{"health":{"status":"HEALTH_OK"},"osdmap":{"num_osds":3,"num_up_osds":3,"num_in_osds":3},"pgmap":{}}`, false, false, ""},
		"one down": {`{"health":{"status":"HEALTH_WARN","checks":{"OSD_DOWN":{"summary":{"message":"1 osds down"}}}},
			"osdmap":{"num_osds":3,"num_up_osds":2,"num_in_osds":3},"mgrmap":{"available":true},"pgmap":{"pgs_by_state":[{"state_name":"active+undersized+degraded","count":8}]}}`, false, false, ""},
		"peering": {`{"health":{"status":"HEALTH_OK"},"osdmap":{"num_osds":3,"num_up_osds":3,"num_in_osds":3},"mgrmap":{"available":true},
			"pgmap":{"pgs_by_state":[{"state_name":"peering","count":8}]}}`, false, false, ""},
		"no status": {`{}`, false, false, "no health"},
		"no JSON":   {`x`, false, false, "invalid character"},
	} {
		s, err := parseStatus([]byte(tc.text))
		if tc.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("%s: err = %v", name, err)
			}
			continue
		}
		if err != nil || s.Healthy(3) != tc.healthy || s.Serving(3) != tc.serving || s.Serving(1) {
			t.Errorf("%s: healthy %v, serving %v, %v: %v", name, s.Healthy(3), s.Serving(3), err, s)
		}
		if name == "one down" && (!s.Serving(2) || !strings.Contains(s.String(), "OSD_DOWN: 1 osds down")) {
			t.Errorf("%s: %v", name, s)
		}
	}
}

func TestImpossibleClustersAreRefused(t *testing.T) {
	for _, o := range []Options{{OSDs: -1}, {OSDs: 2, Copies: 3}, {OSDSize: 1 << 20}, {Copies: -1}} {
		if c, err := o.config(t.TempDir()); err == nil {
			t.Errorf("%+v: %+v", o, c)
		}
	}
}
