package domxml

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

func seed(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/harmless/*.xml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		doc, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(doc))
	}
	for _, h := range hostile {
		f.Add(guest(h.piece))
	}
}

// FuzzParse: whatever comes, the answer is a Spec or an invalid error, and what is
// derived from a Spec does not contradict itself.
func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, doc string) {
		s, err := Parse(doc)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("%v is not an invalid error", err)
			}
			return
		}
		if s.MemoryMiB < 0 || s.VCPUs < 1 {
			t.Fatalf("memory %d, vcpu %d", s.MemoryMiB, s.VCPUs)
		}
		if StorageClass(s, nil) == SharedFile {
			t.Fatal("a shared file without a shared directory")
		}
		if got, err := WithUUID(doc, someUUID); err == nil && s.UUID == "" && parsed(t, got).UUID != someUUID {
			t.Fatalf("the UUID is lost in\n%s", got)
		}
	})
}

// FuzzWithConsoleLog: the result parses to the same Spec, differs only inside the
// console device, and a second application changes nothing.
func FuzzWithConsoleLog(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, doc string) {
		got, err := WithConsoleLog(doc, "/run/o'c.log")
		if err != nil {
			return
		}
		before, err := read(doc)
		if err != nil {
			t.Fatalf("accepted what cannot be read: %v", err)
		}
		device := consoleDevice(before)
		if device == nil {
			if got != doc {
				t.Fatal("changed without a console device")
			}
			return
		}
		if !strings.HasPrefix(got, doc[:device.start]) || !strings.HasSuffix(got, doc[device.end:]) {
			t.Fatalf("changed outside of the device:\n%s", got)
		}
		after, err := read(got)
		if err != nil {
			if len(got) > MaxSize {
				return
			}
			t.Fatalf("the result cannot be read: %v\n%s", err, got)
		}
		logs := consoleDevice(after).all("log")
		if len(logs) != 1 || logs[0].attr("file") != "/run/o'c.log" || logs[0].attr("append") != "on" {
			t.Fatalf("%d logs in\n%s", len(logs), got)
		}
		sameSpec(t, doc, got)
		if again, err := WithConsoleLog(got, "/run/o'c.log"); err != nil || again != got {
			t.Fatalf("a second time it changes again: %v", err)
		}
	})
}

func sameSpec(t *testing.T, a, b string) {
	t.Helper()
	before, errA := Parse(a)
	after, errB := Parse(b)
	if (errA == nil) != (errB == nil) {
		t.Fatalf("before %v, after %v", errA, errB)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Fatalf("the Spec changed:\n%s", diff)
	}
}

// FuzzPolicy: no document makes the check panic, and an error is of one of its kinds.
func FuzzPolicy(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, doc string) {
		err := restricted.Check(doc)
		if err == nil {
			if _, err := read(doc); err != nil {
				t.Fatalf("allowed what cannot be read: %v", err)
			}
		} else if !errs.Is(err, errs.Invalid) && !errs.Is(err, errs.Denied) {
			t.Fatalf("%v is neither invalid nor denied", err)
		}
	})
}

// FuzzPolicyPath: a path that is let through in a disk, a kernel or a serial port lies
// in an allowed directory, as the file system would resolve it.
func FuzzPolicyPath(f *testing.F) {
	for _, p := range []string{"/srv/vms/a", "/srv/vms/../a", "/srv/vmsx", "a", "", "/srv/vms//./a", "/dev/pts/3", " /srv/vms/a", "/srv/vms/..", "//srv/vms/a"} {
		f.Add(p)
	}
	pieces := []string{"disk <source file='%s'/>", "os <kernel>%s</kernel>", "dev <serial type='file'><source path='%s'/></serial>", "dev <new thing='/%s'/>"}
	f.Fuzz(func(t *testing.T, p string) {
		for _, piece := range pieces {
			doc := guest(fmt.Sprintf(piece, attributeEscaper.Replace(p)))
			if restricted.Check(doc) != nil || strings.TrimSpace(p) == "" {
				continue
			}
			clean := path.Join("/", p) // relative to the root directory, as for QEMU
			if !strings.HasPrefix(clean+"/", "/srv/vms/") && !strings.HasPrefix(clean+"/", "/var/lib/libvirt/images/") {
				t.Fatalf("%q passed in %s", p, doc)
			}
		}
	})
}
