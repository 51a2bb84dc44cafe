package config

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

const (
	nodeSample = "../../conf/pvcd.sample.yaml"
	apiSample  = "../../conf/pvc-api.sample.yaml"
)

func nodeTable() []entry { return nodeEntries(&Node{}, &rawNode{}) }

func apiTable() []entry { return apiEntries(&API{}, new(string)) }

func TestEveryKeyOfALoaderIsInItsSampleAndTheReverse(t *testing.T) {
	for file, table := range map[string][]entry{nodeSample: nodeTable(), apiSample: apiTable()} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		top, err := parse(file, data)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, e := range table {
			if e.inert == "" {
				want = append(want, e.key)
			} else if !slices.Contains(commentWords(string(data)), e.key) {
				t.Errorf("%s: no comment names the key %s, which has no effect", file, e.key)
			}
		}
		got := leaves("", top)
		slices.Sort(got)
		slices.Sort(want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: keys of the loader (-) and of the sample (+):\n%s", file, d)
		}
	}
}

// leaves are the dotted keys of everything in n that is no mapping.
func leaves(path string, n *yaml.Node) []string {
	if n.Kind != yaml.MappingNode {
		return []string{path}
	}
	var out []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if path != "" {
			key = path + "." + key
		}
		out = append(out, leaves(key, n.Content[i+1])...)
	}
	return out
}

func commentWords(text string) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			out = append(out, strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune("# ,", r) })...)
		}
	}
	return out
}

// decision: times
func TestSampleOfTheNodeDaemonHoldsTheDefaults(t *testing.T) {
	data, err := os.ReadFile(nodeSample)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := ParseNode(nodeSample, data, "hv2.example.net")
	if err != nil {
		t.Fatal(err)
	}
	want := defaultNode(nodeSample, "hv2")
	want.Functions.Hypervisor = true
	// These have no defaults; TestOldNodeFileIsValid looks at them.
	want.Cluster.Coordinators = c.Cluster.Coordinators
	want.Cluster.Upstream, want.Cluster.Internal, want.Cluster.Storage = c.Cluster.Upstream, c.Cluster.Internal, c.Cluster.Storage
	want.Networking = c.Networking
	if d := cmp.Diff(want, c, values); d != "" {
		t.Errorf("defaults (-) and sample (+):\n%s", d)
	}
}

func TestSampleOfTheAPIHoldsTheDefaults(t *testing.T) {
	data, err := os.ReadFile(apiSample)
	if err != nil {
		t.Fatal(err)
	}
	c, warnings, err := ParseAPI(apiSample, data, "hv2")
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	want := defaultAPI(apiSample, "hv2")
	want.Coordinators, want.Auth.Tokens = c.Coordinators, c.Auth.Tokens
	if d := cmp.Diff(want, c, values); d != "" {
		t.Errorf("defaults (-) and sample (+):\n%s", d)
	}
	if len(c.Auth.Tokens) > 0 || !c.Auth.SecretKey.Empty() {
		t.Error("the sample holds a token or a key that everybody knows")
	}
}

func TestSampleOfTheAPIDoesNotStartWithAuthenticationButWithoutSecrets(t *testing.T) {
	data, err := os.ReadFile(apiSample)
	if err != nil {
		t.Fatal(err)
	}
	on := strings.Replace(string(data), "      enabled: False\n", "      enabled: True\n", 1)
	if on == string(data) {
		t.Fatal("the sample does not switch authentication off")
	}
	_, _, err = ParseAPI(apiSample, []byte(on), "hv2")
	if err == nil || !strings.Contains(err.Error(), "secret_key") || !strings.Contains(err.Error(), "tokens") {
		t.Errorf("error %v; secret_key and tokens were expected in it", err)
	}
}
