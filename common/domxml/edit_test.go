package domxml

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

const someUUID = "7c2a6e0e-7a2b-4f1b-9a53-0f3f7b6f1aff"

func TestUUIDIsInsertedAndEveryOtherByteKept(t *testing.T) {
	e := "<uuid>" + someUUID + "</uuid>"
	tests := []struct{ name, doc, want string }{
		{"one line", `<domain><name>a</name><x a="1"  b='2' /></domain>`, `<domain><name>a</name>` + e + `<x a="1"  b='2' /></domain>`},
		{"indented", "<domain>\n\t <name>a</name>\n</domain>", "<domain>\n\t <name>a</name>\n\t " + e + "\n</domain>"},
		{"CRLF", "<domain>\r\n  <name>a</name>\r\n</domain>\r\n", "<domain>\r\n  <name>a</name>\r\n  " + e + "\r\n</domain>\r\n"},
		{"after a byte order mark", "\ufeff<domain>\n<name>ä</name></domain>", "\ufeff<domain>\n<name>ä</name>\n" + e + "</domain>"},
		{"not on a line of its own", "<domain>\n  <!-- --> <name>a</name></domain>", "<domain>\n  <!-- --> <name>a</name>" + e + "</domain>"},
		{"empty element", "<domain><uuid/> <name>a</name></domain>", "<domain>" + e + " <name>a</name></domain>"},
		{"blank element", "<domain><uuid a='x'> \n</uuid><name>a</name></domain>", "<domain>" + e + "<name>a</name></domain>"},
		{"equal in other notation", "<domain><uuid>7C2A6E0E7A2B4F1B9A530F3F7B6F1AFF</uuid></domain>", "<domain><uuid>7C2A6E0E7A2B4F1B9A530F3F7B6F1AFF</uuid></domain>"},
		{"other name below", "<domain><metadata><name>m</name></metadata><name>a</name></domain>", "<domain><metadata><name>m</name></metadata><name>a</name>" + e + "</domain>"},
		{"empty name", "<domain><name/></domain>", "<domain><name/>" + e + "</domain>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := WithUUID(tt.doc, strings.ToUpper(someUUID))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if s := parsed(t, got); s.UUID != someUUID {
				t.Errorf("it parses with UUID %q", s.UUID)
			}
		})
	}
}

func TestUUIDIsRefused(t *testing.T) {
	tests := []struct{ name, doc, uuid, want string }{
		{"malformed", "<domain><name>a</name></domain>", "x", `UUID "x"`},
		{"another one there", "<domain>\n<uuid>0c2a6e0e-7a2b-4f1b-9a53-0f3f7b6f1aff</uuid></domain>", someUUID, "line 2"},
		{"malformed one there", "<domain><uuid>1</uuid></domain>", someUUID, `UUID "1"`},
		{"no name", "<domain/>", someUUID, "no <name>"},
		{"no document", "<domain>", someUUID, "line 1"},
	}
	for _, tt := range tests {
		if _, err := WithUUID(tt.doc, tt.uuid); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want an invalid one that says %s", tt.name, err, tt.want)
		}
	}
}

// decision: console log
func TestConsoleLogGoesToTheFirstSerialElseConsole(t *testing.T) {
	const log = "<log file='/run/a.log' append='on'/>"
	wrap := func(s string) string {
		return "<?xml version='1.0'?>\n<domain type=\"qemu\">\r\n<devices>\n" + s + "\n</devices></domain>\n"
	}
	tests := []struct{ name, in, want string }{
		{"none", "<disk/>", "<disk/>"},
		{"empty tag", "<serial type='pty'/><serial/>", "<serial type='pty'>" + log + "</serial><serial/>"},
		{"empty tag with blanks", "<serial  type='a/>'\n />", "<serial  type='a/>'>" + log + "</serial>"},
		{"without content", "<serial></serial>", "<serial>" + log + "</serial>"},
		{"with content", "<serial>\n <target/>\n</serial>", "<serial>" + log + "\n <target/>\n</serial>"},
		{"replaced", "<serial> <target/> <log file=\"/old\" /> <x/></serial>", "<serial> <target/> " + log + " <x/></serial>"},
		{"replaced with content", "<serial><log file='/old'>\n</log></serial>", "<serial>" + log + "</serial>"},
		{"replaced several", "<serial><log file='/1'/>a<!-- --><log file='/2'/>b<log file='/3'/></serial>", ""},
		{"several", "<serial><log file='/1'/> <log file='/2'/>\n<log file='/3'/>\t</serial>", "<serial>" + log + " \n\t</serial>"},
		{"serial wins", "<console><log file='/c'/></console><serial/>", "<console><log file='/c'/></console><serial>" + log + "</serial>"},
		{"console", "<console tty='x'/><console/>", "<console tty='x'>" + log + "</console><console/>"},
		{"in a comment", "<!-- <serial/> --><console/>", "<!-- <serial/> --><console>" + log + "</console>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := WithConsoleLog(wrap(tt.in), "/run/a.log")
			if tt.want == "" {
				if !errs.Is(err, errs.Invalid) {
					t.Fatalf("error %v, want an invalid one", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wrap(tt.want), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if again, err := WithConsoleLog(got, "/run/a.log"); err != nil || again != got {
				t.Errorf("a second time it changes again (%v):\n%s", err, again)
			}
		})
	}
}

func TestConsoleLogPathIsEscapedAndChecked(t *testing.T) {
	const odd = `/run/a'b"c<d>e&f ä/g`
	got, err := WithConsoleLog("<domain><devices><serial/></devices></domain>", odd)
	if err != nil {
		t.Fatal(err)
	}
	root, err := read(got)
	if err != nil {
		t.Fatal(err)
	}
	if file := root.child("devices", "serial", "log").attr("file"); file != odd {
		t.Errorf("the path reads back as %q", file)
	}
	for _, file := range []string{"", "a", "run/a", "/run/../a", "/run//a", "/run/", "/run/./a", "/a\nb", "/a\x00", "/a\xff", "/a\ufffe"} {
		if _, err := WithConsoleLog("<domain/>", file); !errs.Is(err, errs.Invalid) {
			t.Errorf("path %q: error %v, want an invalid one", file, err)
		}
	}
}
