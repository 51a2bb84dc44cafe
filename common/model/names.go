package model

import (
	"regexp"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

var (
	vmName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)
	nodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	uuidText = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// CheckVMName says whether s may name a VM: 1 to 63 letters, digits, '_', '.', '-',
// beginning with a letter or digit, and not a UUID.
func CheckVMName(s string) error {
	if !vmName.MatchString(s) {
		return errs.Invalidf("VM name %q: 1 to 63 letters, digits, '_', '.' or '-' are needed, the first a letter or digit", Clip(s))
	}
	if _, ok := ParseUUID(s); ok {
		return errs.Invalidf("VM name %q is a UUID", s)
	}
	return nil
}

// CheckNodeName says whether s may name a node: a host name without dots, RFC 1123,
// in lower case.
func CheckNodeName(s string) error {
	if !nodeName.MatchString(s) {
		return errs.Invalidf("node name %q: 1 to 63 lower-case letters, digits or '-' are needed", Clip(s))
	}
	return nil
}

// ParseUUID accepts a UUID in any common notation (dashes optional, braces, URN
// prefix, any case) and returns it in lower case with dashes.
func ParseUUID(s string) (string, bool) {
	s = strings.ToLower(s)
	s = strings.TrimPrefix(s, "urn:uuid:")
	if len(s) > 2 && s[0] == '{' && s[len(s)-1] == '}' {
		s = s[1 : len(s)-1]
	}
	if len(s) == 32 {
		s = s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
	}
	return s, uuidText.MatchString(s)
}

// Clip shortens a value for a message.
func Clip(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > limit-4 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
