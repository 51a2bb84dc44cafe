package schema

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Flag writes a switch as old clients do.
func Flag(on bool) string {
	if on {
		return "True"
	}
	return "False"
}

// NoneIfEmpty writes a network's or reservation's field as old clients do.
func NoneIfEmpty(s string) string { return cmp.Or(s, "None") }

// ParseVNI reads the name of a znode below Networks; ok is false for anything but a
// number that is written in its shortest form.
func ParseVNI(s string) (vni int, ok bool) {
	vni, err := strconv.Atoi(s)
	return vni, err == nil && vni >= 1 && vni <= model.MaxVXLAN && strconv.Itoa(vni) == s
}

// DecodeNetwork reads a network; ok is false if it does not exist or is not complete
// enough to be one. A field that cannot be read is reported and read as not set.
func DecodeNetwork(t Tree, vni int) (n *model.Network, ok bool, err error) {
	text, version, ok := t.Data(Network(vni))
	if !ok {
		return nil, false, nil
	}
	d := networkDecoder{t: t, vni: vni}
	n = &model.Network{VNI: vni, Description: text, Gen: genOf(t.Children(Network(vni)))}
	n.Versions.Description = version
	n.Type = model.NetworkType(d.text(NetworkType, new(int32)))
	if n.Type == "" {
		return nil, false, nil
	}
	v := &n.Versions
	n.Domain = d.text(NetworkDomain, &v.Domain)
	n.MTU = d.number(d.text(NetworkMTU, &v.MTU), NetworkMTU)
	for _, s := range model.SplitList(d.text(NetworkNameServers, &v.NameServers), ",") {
		if a := d.parseAddr(s, NetworkNameServers); a.IsValid() {
			n.NameServers = append(n.NameServers, a)
		}
	}
	n.IP4 = model.NetworkIP4{
		Network: d.prefix(NetworkIP4Network, &v.IP4Network), Gateway: d.addr(NetworkIP4Gateway, &v.IP4Gateway),
		DHCP: d.flag(NetworkDHCP4, &v.DHCP4), Start: d.addr(NetworkDHCP4Start, &v.DHCP4Start), End: d.addr(NetworkDHCP4End, &v.DHCP4End),
	}
	n.IP6 = model.NetworkIP6{
		Network: d.prefix(NetworkIP6Network, &v.IP6Network), Gateway: d.addr(NetworkIP6Gateway, &v.IP6Gateway),
		DHCP: d.flag(NetworkDHCP6, &v.DHCP6),
	}
	n.Leases, n.Leases6, n.Reservations = d.leases(), d.leases6(), d.reservations()
	n.In, n.Out = d.rules(model.DirectionIn), d.rules(model.DirectionOut)
	return n, true, errors.Join(d.errs...)
}

// networkDecoder reads the keys of one network and collects what it cannot read.
type networkDecoder struct {
	t    Tree
	vni  int
	errs []error
}

func (d *networkDecoder) fail(key, value, want string) {
	d.errs = append(d.errs, fmt.Errorf("%s: %q is not %s", Network(d.vni, key), model.Clip(value), want))
}

func (d *networkDecoder) text(key string, version *int32) string {
	data, v, _ := d.t.Data(Network(d.vni, key))
	*version = v
	return Text(data)
}

func (d *networkDecoder) number(s, key string) int {
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		d.fail(key, s, "a number")
		return 0
	}
	return n
}

func (d *networkDecoder) flag(key string, version *int32) bool {
	return d.text(key, version) == "True"
}

func (d *networkDecoder) addr(key string, version *int32) netip.Addr {
	return d.parseAddr(d.text(key, version), key)
}

func (d *networkDecoder) parseAddr(s, key string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		d.fail(key, s, "an address")
		return netip.Addr{}
	}
	return a.Unmap()
}

func (d *networkDecoder) prefix(key string, version *int32) netip.Prefix {
	s := d.text(key, version)
	if s == "" {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		d.fail(key, s, "a network as address/length")
		return netip.Prefix{}
	}
	return p.Masked()
}

// macs are the MAC addresses below a key, sorted; a child that is none is reported.
func (d *networkDecoder) macs(key string) (macs []string) {
	for _, child := range d.t.Children(Network(d.vni, key)) {
		if mac, err := model.ParseMAC(child); err == nil && mac == child {
			macs = append(macs, mac)
		} else {
			d.fail(key, child, "a MAC address as written here")
		}
	}
	slices.Sort(macs)
	return macs
}

func (d *networkDecoder) leases() (out []model.Lease) {
	for _, mac := range d.macs(NetworkLeases) {
		at := func(key string) string { return NetworkLeases + "/" + mac + "/" + key }
		var v int32
		l := model.Lease{
			MAC: mac, Address: d.addr(at(LeaseAddress), &v),
			Hostname: d.text(at(LeaseHostname), &v), ClientID: d.text(at(LeaseClientID), &v),
			Expiry: int64(d.number(d.text(at(LeaseExpiry), &v), at(LeaseExpiry))),
		}
		if l.Address.IsValid() {
			out = append(out, l)
		}
	}
	return out
}

func (d *networkDecoder) reservations() (out []model.Reservation) {
	for _, mac := range d.macs(NetworkReservations) {
		at := func(key string) string { return NetworkReservations + "/" + mac + "/" + key }
		var v int32
		r := model.Reservation{MAC: mac, Address: d.addr(at(LeaseAddress), &v), Hostname: d.text(at(LeaseHostname), &v)}
		if r.Address.IsValid() {
			out = append(out, r)
		}
	}
	return out
}

// rules are those of a direction by position: by their number, equal ones by name.
func (d *networkDecoder) rules(dir model.Direction) (out []model.Rule) {
	root := NetworkRules + "/" + string(dir)
	for _, name := range d.t.Children(Network(d.vni, root)) {
		r := model.Rule{Name: name}
		order := d.text(root+"/"+name+"/"+RuleOrder, &r.Version)
		var v int32
		if r.Text = d.text(root+"/"+name+"/"+RuleText, &v); r.Text == "" {
			continue // half of one
		}
		r.Order = d.number(order, root+"/"+name+"/"+RuleOrder)
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b model.Rule) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.Name, b.Name))
	})
	return out
}

// leases6 are the DHCPv6 leases by address.
func (d *networkDecoder) leases6() (out []model.Lease6) {
	for _, child := range d.t.Children(Network(d.vni, NetworkLeases6)) {
		key := NetworkLeases6 + "/" + child
		data, _, ok := d.t.Data(Network(d.vni, key))
		a := d.parseAddr(child, NetworkLeases6)
		if !ok || !a.IsValid() {
			continue
		}
		l := model.Lease6{Address: a}
		if err := json.Unmarshal([]byte(data), &l); err != nil {
			d.fail(key, data, "a DHCPv6 lease")
			continue
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b model.Lease6) int { return a.Address.Compare(b.Address) })
	return out
}
