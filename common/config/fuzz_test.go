package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

func addSeeds(f *testing.F, files ...string) {
	for _, pattern := range files {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatal(pattern, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte(smallNode))
	f.Add([]byte(smallAPI))
	f.Add([]byte("a: &a [x]\nb: *a\n"))
	f.Add([]byte("? {a: b}\n: !!str 5\n"))
	f.Add([]byte("pvc: !!map {node: !!int 'x'}\n"))
}

// checkError wants errors to be lists of problems that name the file.
func checkError(t *testing.T, none bool, err error) {
	var e *Error
	if none != (err != nil) {
		t.Fatalf("configuration missing: %v, error %v", none, err)
	}
	if err != nil && (!errors.As(err, &e) || !errs.Is(err, errs.Invalid) || len(e.Problems) == 0) {
		t.Fatalf("error %#v", err)
	}
}

func FuzzParseNode(f *testing.F) {
	addSeeds(f, nodeSample, "testdata/*.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := ParseNode("f", data, "hv1")
		checkError(t, c == nil, err)
		if err != nil {
			return
		}
		if model.CheckNodeName(c.Name) != nil || len(c.Cluster.Coordinators) == 0 || c.VM.ShutdownTimeout <= 0 ||
			c.Cluster.ZooKeeper.SessionTimeout <= 0 || c.Migration.Parallel < 1 || !filepath.IsAbs(c.Dirs.Lock) {
			t.Errorf("accepted: %+v", c)
		}
	})
}

func FuzzParseAPI(f *testing.F) {
	addSeeds(f, apiSample, "testdata/*.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := ParseAPI("f", data, "hv1")
		checkError(t, c == nil, err)
		if err != nil || !c.Auth.Enabled {
			return
		}
		for _, token := range c.Auth.Tokens {
			if token.Token.Empty() {
				t.Error("an empty token was accepted")
			}
		}
		if len(c.Auth.Tokens) == 0 || len(c.Auth.SecretKey.Reveal()) < MinSecretKey {
			t.Errorf("accepted: %+v", c)
		}
	})
}
