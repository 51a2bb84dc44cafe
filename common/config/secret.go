package config

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"

	"gopkg.in/yaml.v3"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Secret is a text that no log, error or formatted value shows.
type Secret struct{ text string }

// NewSecret makes a secret of a text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text, for the one place that needs it.
func (s Secret) Reveal() string { return s.text }

// Empty reports whether there is no text.
func (s Secret) Empty() bool { return s.text == "" }

// String hides the text.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return "(secret)"
}

// Format hides the text whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue hides the text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// secret is an entry whose value no message shows.
func secret(key string, to *Secret) entry {
	return entry{key: key, expect: "a text", decode: func(n *yaml.Node) error {
		s, ok := scalar(n)
		if !ok && !isUnset(n) {
			return errs.Invalidf("a text was expected (the value is not shown)")
		}
		to.text = s
		return nil
	}}
}

// maxSecretFile bounds a file that holds one secret, in bytes.
const maxSecretFile = 64 << 10

// ReadSecret reads a file that holds one secret; blanks around it are dropped. A
// file that others than owner and group may read, and an empty one, is refused as
// errs.Invalid.
func ReadSecret(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, fmt.Errorf("read secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Secret{}, fmt.Errorf("read secret: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return Secret{}, errs.Invalidf("read secret: %s may be read by everyone (mode %04o; 0600 or 0640 was expected)", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return Secret{}, fmt.Errorf("read secret: %w", err)
	}
	if len(data) > maxSecretFile {
		return Secret{}, errs.Invalidf("read secret: %s is larger than %d bytes", path, maxSecretFile)
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return Secret{}, errs.Invalidf("read secret: %s is empty", path)
	}
	return Secret{string(data)}, nil
}
