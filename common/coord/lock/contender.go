package lock

import (
	"strconv"
	"strings"
)

// Mode is the kind of a lock.
type Mode uint8

// The kinds: any number of readers, or one writer.
const (
	Write Mode = iota
	Read
)

// infix is the part of a contender's name that tells the kind.
func (m Mode) infix() string {
	if m == Read {
		return "__rlock__"
	}
	return "__lock__"
}

// contender is a parsed child of a lock's znode.
type contender struct {
	name string
	mode Mode
	seq  int64
}

// parse reads a contender's name; ok is false for a child that is none. The prefix is
// not looked at: old clients only look for the infix.
func parse(name string) (c contender, ok bool) {
	for _, m := range []Mode{Write, Read} {
		if i := strings.LastIndex(name, m.infix()); i >= 0 {
			// The server prints a signed number with ten digits, zero-padded.
			seq, err := strconv.ParseInt(name[i+len(m.infix()):], 10, 64)
			return contender{name, m, seq}, err == nil
		}
	}
	return contender{}, false
}

// predecessor returns the child that the contender own has to wait for, "" if none.
// there is false when own is not among the children.
func predecessor(children []string, own string) (before string, there bool) {
	me, ok := parse(own)
	if !ok {
		return "", false
	}
	var nearest contender
	for _, name := range children {
		c, ok := parse(name)
		if !ok {
			continue
		}
		if c.name == own {
			there = true
			continue
		}
		if c.seq >= me.seq || me.mode == Read && c.mode == Read {
			continue
		}
		if nearest.name == "" || c.seq > nearest.seq {
			nearest = c
		}
	}
	return nearest.name, there
}
