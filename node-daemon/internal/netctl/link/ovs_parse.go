package link

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// row is a record of the database, by column.
type row map[string]json.RawMessage

// parseSwitches reads three tables as ovs-vsctl lists them: bridges, ports, interfaces.
func parseSwitches(text []byte) (switches, error) {
	in := json.NewDecoder(bytes.NewReader(text))
	var tables [3][]row
	for i, what := range []string{"bridges", "ports", "interfaces"} {
		var err error
		if tables[i], err = readTable(in); err != nil {
			return switches{}, fmt.Errorf("table of %s: %w", what, err)
		}
	}
	s := switches{bridges: map[string]int{}, ports: map[string]switchPort{}}
	bridgeOf, err := s.readBridges(tables[0])
	if err != nil {
		return switches{}, err
	}
	interfaces := map[string]row{}
	for _, r := range tables[2] {
		interfaces[r.one("_uuid")] = r
	}
	for _, r := range tables[1] {
		name, port, err := readPort(r, interfaces)
		if err != nil {
			return switches{}, fmt.Errorf("port %q: %w", name, err)
		}
		port.bridge = bridgeOf[r.one("_uuid")]
		s.ports[name] = port
		for _, i := range members(r["interfaces"]) {
			if err := s.limit(port.bridge, interfaces[atom(i)]); err != nil {
				return switches{}, fmt.Errorf("port %q: %w", name, err)
			}
		}
	}
	return s, nil
}

func readTable(in *json.Decoder) ([]row, error) {
	var table struct {
		Headings []string            `json:"headings"`
		Data     [][]json.RawMessage `json:"data"`
	}
	if err := in.Decode(&table); err != nil {
		return nil, err
	}
	var rows []row
	for _, cells := range table.Data {
		if len(cells) != len(table.Headings) {
			return nil, fmt.Errorf("a row of %d cells below %d headings", len(cells), len(table.Headings))
		}
		r := row{}
		for i, heading := range table.Headings {
			r[heading] = cells[i]
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// readBridges returns the bridge of each port, by the port's UUID.
func (s switches) readBridges(rows []row) (bridgeOf map[string]string, err error) {
	bridgeOf = map[string]string{}
	for _, r := range rows {
		name := r.one("name")
		if name == "" {
			return nil, errors.New("a bridge without a name")
		}
		s.bridges[name] = math.MaxInt32
		for _, port := range members(r["ports"]) {
			bridgeOf[atom(port)] = name
		}
	}
	return bridgeOf, nil
}

// limit lowers the MTU of the interface's bridge as Open vSwitch does: to that of an
// interface to the outside, and to what is requested for one of its own.
func (s switches) limit(bridge string, i row) error {
	column := "mtu"
	if i.one("type") == "internal" {
		column = "mtu_request"
	}
	n, err := i.number(column)
	if most, known := s.bridges[bridge]; known && n > 0 {
		s.bridges[bridge] = min(most, n)
	}
	return err
}

func readPort(r row, interfaces map[string]row) (name string, p switchPort, err error) {
	if name = r.one("name"); name == "" {
		return "", p, errors.New("it has no name")
	}
	if p.vlan, err = r.number("tag"); err != nil {
		return name, p, err
	}
	if p.owner, err = r.entry("external_ids", ownerKey); err != nil {
		return name, p, err
	}
	below := members(r["interfaces"])
	if len(below) != 1 {
		return name, p, nil // a bond
	}
	i := interfaces[atom(below[0])]
	requested, err := i.number("mtu_request")
	p.plain = i.one("name") == name && i.one("type") == "internal" && requested == 0 &&
		p.vlan != 0 && slices.Contains([]string{"", "access"}, r.one("vlan_mode"))
	p.fault = i.one("error")
	return name, p, err
}

// members are the elements of a value: <set> of RFC 7047 section 5.1, where a set of one
// may be written as its element.
func members(value json.RawMessage) []json.RawMessage {
	var pair, elements []json.RawMessage
	if json.Unmarshal(value, &pair) == nil && len(pair) == 2 && string(pair[0]) == `"set"` {
		if json.Unmarshal(pair[1], &elements) != nil {
			return nil
		}
		return elements
	}
	if len(value) == 0 {
		return nil
	}
	return []json.RawMessage{value}
}

// atom is a text or a UUID; empty if it is neither.
func atom(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	var pair []string
	if json.Unmarshal(value, &pair) == nil && len(pair) == 2 && pair[0] == "uuid" {
		return pair[1]
	}
	return ""
}

// one is the text or UUID of a column that has at most one.
func (r row) one(column string) string {
	if all := members(r[column]); len(all) == 1 {
		return atom(all[0])
	}
	return ""
}

// number is that of a column that has at most one; 0 if it has none.
func (r row) number(column string) (n int, err error) {
	if all := members(r[column]); len(all) == 1 {
		if err := json.Unmarshal(all[0], &n); err != nil {
			return 0, fmt.Errorf("%s: %w", column, err)
		}
	}
	return n, nil
}

// entry is the value of a key in a column that holds a map; empty if it has none.
func (r row) entry(column, key string) (string, error) {
	var pair []json.RawMessage
	var entries [][2]string
	if len(r[column]) == 0 {
		return "", nil
	}
	if err := json.Unmarshal(r[column], &pair); err != nil || len(pair) != 2 || string(pair[0]) != `"map"` {
		return "", fmt.Errorf("%s is no map", column)
	}
	if err := json.Unmarshal(pair[1], &entries); err != nil {
		return "", fmt.Errorf("%s: %w", column, err)
	}
	for _, e := range entries {
		if e[0] == key {
			return e[1], nil
		}
	}
	return "", nil
}
