package command

import "strings"

// plan returns the commands that a host should begin now, in their order. All commands
// are given in the order in which they were made. A command has to wait while an earlier
// one that has not ended works on the same thing, wherever that is executed.
func plan(me string, all []*Command, alive func(node string) bool, keysOf func(*Command) []string) []*Command {
	var out []*Command
	earlier := keySet{}
	for _, c := range all {
		if c.Finished() {
			continue
		}
		keys := keysOf(c)
		if !earlier.overlaps(keys) && mayExecute(me, c, alive) {
			out = append(out, c)
		}
		earlier.add(keys)
	}
	return out
}

// mayExecute reports whether a command is without an executor and this host's to begin,
// to take over, or to refuse.
func mayExecute(me string, c *Command, alive func(node string) bool) bool {
	if c.By != "" {
		return false
	}
	return c.Node == me || c.Node == "" || c.Cancel != "" || !alive(c.Node) && (c.Any || c.Executor == nil)
}

// toRefuse reports whether a command that this host may begin is for another one alone,
// which is not there. It might come back after years, when nobody wants it any more.
func toRefuse(me string, c *Command) bool {
	return c.Executor == nil && c.Node != me && c.Node != "" && !c.Any
}

// keySet is a set of keys; a key also stands for those below it.
type keySet map[string]bool // true: the key itself, false: only something below it

func (k keySet) add(keys []string) {
	for _, key := range keys {
		for up, more := parentKey(key); more; up, more = parentKey(up) {
			if !k[up] {
				k[up] = false
			}
		}
		k[key] = true
	}
}

func (k keySet) overlaps(keys []string) bool {
	for _, key := range keys {
		if _, there := k[key]; there { // it, or something below it
			return true
		}
		for up, more := parentKey(key); more; up, more = parentKey(up) {
			if k[up] {
				return true
			}
		}
	}
	return false
}

// everything is the key above all others.
const everything = ""

// parentKey is the key one level up; more is false for the topmost.
func parentKey(key string) (up string, more bool) {
	if key == everything {
		return "", false
	}
	i := strings.LastIndexByte(key, '/')
	return key[:max(i, 0)], true
}
