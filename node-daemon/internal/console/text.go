package console

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// clean appends a guest's output to a text. Line ends become "\n", repeated carriage
// returns one, invalid UTF-8 the replacement character; NUL is dropped. A carriage
// return without a line feed stays: it draws a line again, and a terminal shows the
// text as the guest's own would have. Escape sequences stay. The rest is what may be
// the beginning of a character, at most 3 bytes, to be put before the next output.
func clean(text, raw []byte) (out, rest []byte) {
	for len(raw) > 0 {
		width := 1
		switch b := raw[0]; {
		case b == 0:
		case b == '\r' && bytes.HasSuffix(text, []byte{'\r'}):
		case b == '\n' && bytes.HasSuffix(text, []byte{'\r'}):
			text[len(text)-1] = '\n'
		case b < utf8.RuneSelf:
			text = append(text, b)
		case !utf8.FullRune(raw):
			return text, bytes.Clone(raw)
		default:
			var r rune
			r, width = utf8.DecodeRune(raw)
			text = utf8.AppendRune(text, r)
		}
		raw = raw[width:]
	}
	return text, nil
}

// limit returns the end of a text: at most so many lines, the last of which may be
// without an end, and at most so many bytes. It cuts a line rather than dropping it,
// so that limiting early and late come to the same.
func limit(text []byte, lines, size int) []byte {
	if cut := len(text) - size; cut > 0 {
		for cut < len(text) && !utf8.RuneStart(text[cut]) {
			cut++
		}
		text = text[cut:]
	}
	for i := len(text) - 2; i >= 0; i-- {
		if text[i] == '\n' {
			if lines--; lines <= 0 {
				return text[i+1:]
			}
		}
	}
	return text
}

// addLine appends a line of ours, on a line of its own. Characters that would break
// it become spaces; what waited for its rest is replaced, as its rest will not follow.
func addLine(text, rest []byte, line string) []byte {
	for range rest {
		text = utf8.AppendRune(text, utf8.RuneError)
	}
	text = bytes.TrimSuffix(text, []byte{'\r'})
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r // an invalid byte arrives as utf8.RuneError
	}, line)
	return append(append(text, line...), '\n')
}

// skipNotice is the line that stands for output that was not read.
func skipNotice(n int64) string {
	return fmt.Sprintf("--- %d bytes of console output were skipped ---", n)
}
