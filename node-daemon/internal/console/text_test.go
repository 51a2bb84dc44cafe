package console_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
)

// decision: console
func TestOutputBecomesText(t *testing.T) {
	for _, c := range []struct{ name, raw, text, rest string }{
		{"plain", "login: ", "login: ", ""},
		{"line ends of a terminal", "a\r\nb\r\r\nc\n\nd", "a\nb\nc\n\nd", ""},
		{"a line drawn again", "10%\r20%\r\r30%", "10%\r20%\r30%", ""},
		{"NUL", "a\x00b\r\x00\n", "ab\n", ""},
		{"escape sequences", "\x1b[1mbold\x1b[0m\a\b", "\x1b[1mbold\x1b[0m\a\b", ""},
		{"valid UTF-8", "Grüße 日本 🐧", "Grüße 日本 🐧", ""},
		{"invalid UTF-8", "\xffa\xc3(\xed\xa0\x80", "\uFFFDa\uFFFD(\uFFFD\uFFFD\uFFFD", ""},
		{"half a character at the end", "ab\xf0\x9f\x90", "ab", "\xf0\x9f\x90"},
		{"half a character with NUL", "\xc3\x00\xbc", "\uFFFD\uFFFD", ""},
	} {
		text, rest := console.Clean(nil, []byte(c.raw))
		if string(text) != c.text || string(rest) != c.rest {
			t.Errorf("%s: %q, %q, want %q, %q", c.name, text, rest, c.text, c.rest)
		}
	}
}

// decision: console
func TestALimitKeepsTheEnd(t *testing.T) {
	for _, c := range []struct {
		text        string
		lines, size int
		want        string
	}{
		{"a\nb\nc\n", 2, 100, "b\nc\n"},
		{"a\nb\nc", 2, 100, "b\nc"},
		{"a\nb\n\n", 1, 100, "\n"},
		{"a\nb\n", 5, 100, "a\nb\n"},
		{"", 1, 100, ""},
		{"\n", 1, 100, "\n"},
		{"abcdef", 5, 4, "cdef"},
		{"aüü", 5, 3, "ü"},
		{"ü", 5, 1, ""},
	} {
		if got := string(console.Limit([]byte(c.text), c.lines, c.size)); got != c.want {
			t.Errorf("%q, %d lines, %d bytes: %q, want %q", c.text, c.lines, c.size, got, c.want)
		}
	}
}

func TestALineOfOursIsOneLine(t *testing.T) {
	for _, c := range []struct{ text, rest, line, want string }{
		{"", "", "cut", "cut\n"},
		{"a\n", "", "cut", "a\ncut\n"},
		{"login: ", "", "cut", "login: \ncut\n"},
		{"50%\r", "", "cut", "50%\ncut\n"},
		{"a", "\xe6\x97", "cut", "a\uFFFD\uFFFD\ncut\n"},
		{"", "", "two\nlines\x1b[2J\xff", "two lines [2J\uFFFD\n"},
	} {
		if got := string(console.AddLine([]byte(c.text), []byte(c.rest), c.line)); got != c.want {
			t.Errorf("%q + %q: %q, want %q", c.text, c.line, got, c.want)
		}
	}
}

// onePass is what every schedule of reading has to come to.
func onePass(raw []byte, lines, size int) string {
	text, _ := console.Clean(nil, raw)
	return string(console.Limit(text, lines, size))
}

func FuzzReadingInPiecesMakesTheSameText(f *testing.F) {
	f.Add([]byte("a\r\r\nü\xff🐧\r\x00\n\xf0\x9f\x90"), uint8(1), uint8(2), uint8(5))
	f.Add([]byte(strings.Repeat("日本\n", 20)), uint8(7), uint8(3), uint8(20))
	f.Add([]byte("\xed\xa0\x80\r\n\r\n"), uint8(2), uint8(1), uint8(3))
	f.Fuzz(func(t *testing.T, raw []byte, step, lines, size uint8) {
		n, l, s := int(step)%17+1, int(lines)%9+1, int(size)+1
		var text, rest []byte
		for chunk := range chunks(raw, n) {
			text, rest = console.Clean(text, append(rest, chunk...))
			text = bytes.Clone(console.Limit(text, l, s))
			if len(rest) >= utf8.UTFMax {
				t.Fatalf("%d bytes wait for their rest", len(rest))
			}
		}
		if got, want := string(text), onePass(raw, l, s); got != want {
			t.Errorf("in pieces of %d: %q, at once: %q", n, got, want)
		}
		if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 || len(text) > s {
			t.Errorf("the text %q is not clean or longer than %d", text, s)
		}
	})
}

func chunks(raw []byte, n int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(raw) > 0 {
			k := min(n, len(raw))
			if !yield(raw[:k:k]) {
				return
			}
			raw = raw[k:]
		}
	}
}

// output draws what a guest may print: text, line ends of every kind, garbage.
func output() *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{"\n", "\r\n", "\r", "\r\r\n", "\x00", "ü", "🐧", "\xf0\x9f", "\x90\xa7", "\x1b[0m", "login: "}),
		rapid.StringMatching(`[a-z ]{1,12}\n`),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 8), func(b []byte) string { return string(b) }),
	)
	return rapid.Map(rapid.SliceOfN(piece, 1, 8), func(p []string) string { return strings.Join(p, "") })
}
