package config

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// isUnset reports whether a value means "not set".
func isUnset(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == "!!null" || n.Value == "" || n.Value == "None")
}

// scalar is the text of a value; ok is false for lists, mappings and values with
// a tag of their own.
func scalar(n *yaml.Node) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return "", false
	case n.Tag == "!!str", n.Tag == "!!int", n.Tag == "!!float", n.Tag == "!!bool", n.Tag == "!!timestamp":
		return n.Value, true
	}
	return "", false
}

// shown describes a value in a message.
func shown(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(model.Clip(n.Value))
}

func wrong(n *yaml.Node, expect string) error {
	return errs.Invalidf("%s: %s was expected", shown(n), expect)
}

// value makes an entry of a function from text to a value.
func value[T any](key, expect string, to *T, from func(string) (T, bool)) entry {
	return entry{key: key, expect: expect, decode: func(n *yaml.Node) error {
		s, ok := scalar(n)
		if !ok {
			return wrong(n, expect)
		}
		v, ok := from(s)
		if !ok {
			return wrong(n, expect)
		}
		*to = v
		return nil
	}}
}

// list makes an entry whose value is a list of such texts.
func list[T any](key, expect string, to *[]T, from func(string) (T, bool)) entry {
	return entry{key: key, expect: "a list, each element " + expect, decode: func(n *yaml.Node) error {
		if n.Kind != yaml.SequenceNode {
			return wrong(n, "a list")
		}
		var out []T
		for i, c := range n.Content {
			s, ok := scalar(c)
			var v T
			if ok {
				v, ok = from(s)
			}
			if !ok {
				return fmt.Errorf("element %d: %w", i+1, wrong(c, expect))
			}
			out = append(out, v)
		}
		*to = out
		return nil
	}}
}

func text(key string, to *string) entry {
	return value(key, "a text of one line", to, oneLine)
}

func oneLine(s string) (string, bool) {
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return "", false
		}
	}
	return s, true
}

func boolean(key string, to *bool) entry {
	return value(key, "True or False", to, func(s string) (bool, bool) {
		switch strings.ToLower(s) {
		case "true", "yes", "on":
			return true, true
		case "false", "no", "off":
			return false, true
		}
		return false, false
	})
}

func whole(key string, to *int, lowest, highest int) entry {
	expect := fmt.Sprintf("a whole number from %d to %d", lowest, highest)
	return value(key, expect, to, func(s string) (int, bool) {
		v, err := strconv.Atoi(s)
		// "010" is eight to some readers of YAML.
		if err != nil || strconv.Itoa(v) != s {
			return 0, false
		}
		return v, v >= lowest && v <= highest
	})
}

// seconds is a duration that the file gives in seconds, with decimals if need be.
func seconds(key string, to *time.Duration, lowest, highest float64) entry {
	expect := fmt.Sprintf("a number of seconds from %g to %g", lowest, highest)
	return value(key, expect, to, func(s string) (time.Duration, bool) {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(v) || v < lowest || v > highest {
			return 0, false
		}
		return time.Duration(math.Round(v * float64(time.Second))), true
	})
}

// word is one of a few words.
func word[T ~string](key string, to *T, words ...T) entry {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	return value(key, "one of "+strings.Join(names, ", "), to, func(s string) (T, bool) {
		for _, w := range words {
			if string(w) == s {
				return w, true
			}
		}
		return "", false
	})
}

const expectPath = "an absolute path"

func path(key string, to *string) entry { return value(key, expectPath, to, absolute) }

func paths(key string, to *[]string) entry { return list(key, expectPath, to, absolute) }

func absolute(s string) (string, bool) {
	s, ok := oneLine(s)
	return filepath.Clean(s), ok && filepath.IsAbs(s)
}

// endpoints are ZooKeeper servers, "host", "host:port", "[address]:port".
func endpoints(key string, to *[]Endpoint) entry {
	e := list(key, "host or host:port", to, parseEndpoint)
	inner := e.decode
	e.decode = func(n *yaml.Node) error {
		if err := inner(n); err != nil {
			return err
		}
		if len(*to) == 0 {
			return errs.Invalidf("the list is empty; at least one host was expected")
		}
		seen := map[Endpoint]bool{}
		for _, ep := range *to {
			if seen[ep] {
				return errs.Invalidf("%s is there twice", ep)
			}
			seen[ep] = true
		}
		return nil
	}
	return e
}

func subnet(key string, to *netip.Prefix) entry {
	return value(key, "a network as address/length", to, func(s string) (netip.Prefix, bool) {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err == nil
	})
}

func hostPrefix(key string, to *netip.Prefix) entry {
	return value(key, "an address with its prefix length, address/length", to, func(s string) (netip.Prefix, bool) {
		p, err := netip.ParsePrefix(s)
		return p, err == nil
	})
}

func address(key string, to *netip.Addr) entry { return value(key, "an IP address", to, ipAddress) }

func addresses(key string, to *[]netip.Addr) entry { return list(key, "an IP address", to, ipAddress) }

func ipAddress(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

func port(key string, to *int) entry { return whole(key, to, 1, 65535) }
