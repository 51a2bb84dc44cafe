package obs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/config"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLogGoesWhereTheConfigurationWantsIt(t *testing.T) {
	const line = `level=INFO msg="guest \"a\"\nstarted" vm=web1 err=broken` + "\n"
	dated := regexp.MustCompile(`^time=\S+ ` + regexp.QuoteMeta(line) + `$`)
	for _, tt := range []config.Logging{
		{}, {File: true}, {Stdout: true}, {File: true, Stdout: true, Dates: true},
	} {
		dir := filepath.Join(t.TempDir(), "new", "log")
		var stdout bytes.Buffer
		l, err := NodeLog(&config.Node{Logging: tt, Dirs: config.Directories{Log: dir}}, &stdout)
		if err != nil {
			t.Fatal(err)
		}
		l.Debug("not shown")
		l.Info("guest \"a\"\nstarted", "vm", "web1", "err", errors.New("broken"))
		out := stdout.String()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		l.Info("after the end of the file")
		switch {
		case !tt.Stdout && out != "", tt.Stdout && !tt.Dates && out != line, tt.Stdout && tt.Dates && !dated.MatchString(out):
			t.Errorf("%+v: standard output %q", tt, out)
		}
		file := filepath.Join(dir, "pvcd.log")
		if !tt.File {
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("%+v: a file was made: %v", tt, err)
			}
		} else if got := read(t, file); !dated.MatchString(got) {
			t.Errorf("%+v: file %q", tt, got)
		}
	}
}

// decision: debug
func TestDebugShowsMore(t *testing.T) {
	var out bytes.Buffer
	l, err := APILog(&config.API{Debug: true}, &out)
	if err != nil {
		t.Fatal(err)
	}
	l.Debug("shown")
	if !strings.Contains(out.String(), "level=DEBUG msg=shown") {
		t.Errorf("%q", out.String())
	}
}

// decision: SIGHUP
func TestReopenFollowsARotatedFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.log")
	l, err := NewLog(LogOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	l.Info("one")
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	l.Info("two")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Info("three")
	if old := read(t, file+".1"); !strings.Contains(old, "one") || !strings.Contains(old, "two") {
		t.Errorf("the rotated file holds %q", old)
	}
	if now := read(t, file); !strings.Contains(now, "three") || strings.Contains(now, "two") {
		t.Errorf("the new file holds %q", now)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestFailedReopenKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.log")
	l, err := NewLog(LogOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("a directory was opened as a log")
	}
	l.Info("still here")
	if got := read(t, file+".1"); !strings.Contains(got, "still here") {
		t.Errorf("the old file holds %q", got)
	}
	if _, err := NewLog(LogOptions{File: file}); err == nil {
		t.Error("a directory was opened as a log")
	}
}
