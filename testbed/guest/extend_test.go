package guest

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestModulesAreNumberedAfterWhatTheyNeed(t *testing.T) {
	dir := t.TempDir()
	tree := &kernelFiles{modules: map[string]string{}}
	for name, needs := range map[string]string{"vlan": "garp,mrp,builtin", "garp": "stp", "mrp": "", "stp": "llc", "llc": "", "bridge": "stp"} {
		tree.modules[name] = filepath.Join(dir, name+".ko")
		if err := os.WriteFile(tree.modules[name], []byte("\x7fELF\x00depends="+needs+"\x00"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var a archive
	if err := tree.addModules(t.Context(), &a, []string{"mrp", "vlan", "bridge", "builtin"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`modules/([a-z0-9-]+)\.ko`).FindAllSubmatch(a.buf.Bytes(), -1) {
		got = append(got, string(m[1]))
	}
	want := []string{"01-mrp", "02-llc", "03-stp", "04-garp", "05-vlan", "06-bridge"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}
