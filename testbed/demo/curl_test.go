package demo

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrintedLineIsWhatIsExecuted(t *testing.T) {
	for _, argv := range [][]string{
		curl("/f", "-d", "state=start", "http://10.99.0.11:7370/api/v1/vm"),
		{"printf", "a b", "it's", `"$HOME" \ `, "", "x?y&z", "*", "é", "#", "~"},
	} {
		words := argv[1:]
		script := "printf '%s\\0' " + strings.TrimPrefix(shellLine(argv), argv[0])
		out, err := exec.Command("/bin/sh", "-c", script).Output()
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		if diff := cmp.Diff(words, got); diff != "" {
			t.Errorf("%s (-argv +shell):\n%s", shellLine(argv), diff)
		}
	}
}

func TestRefusedCallIsAnErrorWithItsAnswer(t *testing.T) {
	var out bytes.Buffer
	_, err := execute(t.Context(), &out, []string{"sh", "-c", "echo no; exit 22"})
	if err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("err = %v", err)
	}
	if want := "$ sh -c 'echo no; exit 22'\nno\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestLastTick(t *testing.T) {
	for text, want := range map[string]struct {
		n    int
		boot bool
	}{
		"TICK boot\r\nTICK 00000001\r\nTICK 00000012\r\n": {12, true},
		"K 00000003\nTICK 00000004\nTICK 000":             {4, false},
		"":                                                {0, false},
	} {
		if n, boot := lastTick(text); n != want.n || boot != want.boot {
			t.Errorf("lastTick(%q) = %d, %v", text, n, boot)
		}
	}
}

func TestLastRecord(t *testing.T) {
	const one, two = "0451852e-1849-4c77-8be3-472593eadbd2", "11111111-1849-4c77-8be3-472593eadbd2"
	for text, want := range map[string]struct {
		n    int
		boot string
	}{
		"SEQ " + one + " 8\r\nPING x answers\r\nSEQ " + one + " 9\r\nDISK vda 1\r\n": {9, one},
		"SEQ " + one + " 8\nSEQ " + two + " 1\nSEQ " + two + " 2":                    {1, two}, // a line without its end may go on
		"SEQ failed: 7\n": {0, ""},
		"":                {0, ""},
	} {
		if n, boot := lastRecord(text); n != want.n || boot != want.boot {
			t.Errorf("lastRecord(%q) = %d, %q", text, n, boot)
		}
	}
}
