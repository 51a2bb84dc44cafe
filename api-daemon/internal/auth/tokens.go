package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
)

// Token is a configured token. The description is what logs show for it.
type Token struct {
	Description string
	Secret      string
}

// tokenTable holds the configured tokens as digests, so that every comparison takes
// the same time whatever the lengths.
type tokenTable struct {
	names      []string
	digests    [][sha256.Size]byte // of the token
	references [][sha256.Size]byte // what a session cookie holds instead of the token
}

func newTokenTable(tokens []Token, key []byte) tokenTable {
	var t tokenTable
	for _, token := range tokens {
		t.names = append(t.names, token.Description)
		t.digests = append(t.digests, sha256.Sum256([]byte(token.Secret)))
		t.references = append(t.references, reference(token.Secret, key))
	}
	return t
}

// reference is a keyed hash: it names a token without telling it.
func reference(secret string, key []byte) [sha256.Size]byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(secret))
	return [sha256.Size]byte(mac.Sum(nil))
}

// bySecret returns the index of the token, -1 if it is none.
func (t *tokenTable) bySecret(secret string) int {
	if secret == "" {
		return -1
	}
	return find(t.digests, sha256.Sum256([]byte(secret)))
}

// byReference returns the index of the token that a session refers to.
func (t *tokenTable) byReference(ref []byte) int {
	if len(ref) != sha256.Size {
		return -1
	}
	return find(t.references, [sha256.Size]byte(ref))
}

// find looks at every entry, also after it has found one.
func find(table [][sha256.Size]byte, want [sha256.Size]byte) int {
	found := -1
	for i := range table {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(table[i][:], want[:]), i, found)
	}
	return found
}
