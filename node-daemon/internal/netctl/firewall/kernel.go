package firewall

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// What nf_tables holds is read with netlink: nft(8) takes a second for what this does in a
// few milliseconds.

// Attributes that the unix package does not have, from linux/netfilter/nf_tables.h.
const (
	tableHandle = 4
	typeMask    = 1<<14 - 1 // without the flags of linux/netlink.h
)

// digest changes whenever what it was made of is made anew, removed, moved or switched off, by
// whomever. Handles stand for rules: the kernel never gives one twice in a table, and a
// rule is not edited in place.
type digest [sha256.Size]byte

// tries is how often a list is read that somebody changes meanwhile.
const tries = 10

// message is an answer of nf_tables: its attributes by number.
type message map[uint16][]byte

func (m message) text(attr uint16) string {
	return string(bytes.TrimRight(m[attr], "\x00"))
}

// ask sends a request to nf_tables about the inet family, with texts as the attributes 1, 2….
func ask(request uint16, flags int, texts ...string) ([]message, error) {
	var answers [][]byte
	err := error(nl.ErrDumpInterrupted)
	for i := 0; i < tries && errors.Is(err, nl.ErrDumpInterrupted); i++ {
		req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|int(request), flags)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET, Version: nl.NFNETLINK_V0})
		for i, text := range texts {
			if text == "" {
				continue
			}
			req.AddData(nl.NewRtAttr(i+1, nl.ZeroTerminated(text)))
		}
		answers, err = req.Execute(unix.NETLINK_NETFILTER, 0)
	}
	if err != nil {
		return nil, errs.Unavailablef("read nftables: %w", err)
	}
	return parse(answers)
}

func parse(answers [][]byte) ([]message, error) {
	out := make([]message, len(answers))
	for i, a := range answers {
		if len(a) < nl.SizeofNfgenmsg {
			return nil, errs.New(errs.Internal, "read nftables: an answer of %d bytes", len(a))
		}
		attrs, err := nl.ParseRouteAttr(a[nl.SizeofNfgenmsg:])
		if err != nil {
			return nil, fmt.Errorf("read nftables: %w", err)
		}
		out[i] = message{}
		for _, attr := range attrs {
			out[i][attr.Attr.Type&typeMask] = attr.Value
		}
	}
	return out, nil
}

// generation is the number of the rule set of this network namespace. The kernel adds one
// with every transaction of anybody.
func generation() (uint32, error) {
	answers, err := ask(unix.NFT_MSG_GETGEN, 0)
	if err != nil {
		return 0, err
	}
	for _, m := range answers {
		if id := m[unix.NFTA_GEN_ID]; len(id) == 4 {
			return binary.BigEndian.Uint32(id), nil
		}
	}
	return 0, errs.New(errs.Internal, "read nftables: the answer has no generation")
}

// baseDigest is of all of our table but the chains of networks and their rules; ok is
// false if there is no table.
func baseDigest() (d digest, ok bool, err error) {
	sum := sha256.New()
	tables, err := ask(unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP)
	for _, m := range tables {
		if m.text(unix.NFTA_TABLE_NAME) == tableName {
			ok = true
			feed(sum, m, tableHandle, unix.NFTA_TABLE_FLAGS)
		}
	}
	if !ok || err != nil {
		return digest{}, false, err
	}
	for _, part := range []func(hash.Hash) error{feedChains, feedSets} {
		if err := part(sum); err != nil {
			return digest{}, false, err
		}
	}
	return digest(sum.Sum(nil)), true, nil
}

var networkChain = regexp.MustCompile(`^vxlan[0-9]+-(in|out)$`)

// feedChains adds the chains, of those that no network owns the rules too.
func feedChains(sum hash.Hash) error {
	list, err := ask(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP)
	if err != nil {
		return err
	}
	for _, m := range list {
		name := m.text(unix.NFTA_CHAIN_NAME)
		if m.text(unix.NFTA_CHAIN_TABLE) != tableName || networkChain.MatchString(name) {
			continue
		}
		feed(sum, m, unix.NFTA_CHAIN_NAME, unix.NFTA_CHAIN_HANDLE, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY)
		if err := feedRules(sum, name); err != nil {
			return err
		}
	}
	return nil
}

func feedRules(sum hash.Hash, chain string) error {
	list, err := ask(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, tableName, chain)
	for _, m := range list {
		feed(sum, m, unix.NFTA_RULE_CHAIN, unix.NFTA_RULE_HANDLE)
	}
	return err
}

// feedSets adds the elements of our sets and maps, in an order of our own: that of the kernel changes
// when a hash table grows.
func feedSets(sum hash.Hash) error {
	for _, name := range []string{"bridges", "entering", "leaving"} {
		list, err := ask(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, tableName, name)
		if errors.Is(err, unix.ENOENT) {
			continue // somebody has removed it: the digest differs
		}
		if err != nil {
			return err
		}
		var all []string
		for _, m := range list {
			parts, err := nl.ParseRouteAttr(m[unix.NFTA_SET_ELEM_LIST_ELEMENTS])
			if err != nil {
				return fmt.Errorf("read nftables: elements of %s: %w", name, err)
			}
			for _, part := range parts {
				all = append(all, string(part.Value))
			}
		}
		slices.Sort(all)
		fmt.Fprintf(sum, "%s %q", name, all)
	}
	return nil
}

// networkDigest is of the chains of a network and their rules.
func networkDigest(vni int) (digest, error) {
	sum := sha256.New()
	for _, direction := range []string{"in", "out"} {
		name := fmt.Sprintf("vxlan%d-%s", vni, direction)
		list, err := ask(unix.NFT_MSG_GETCHAIN, 0, tableName, "", name)
		if errors.Is(err, unix.ENOENT) {
			continue // not there: the digest differs
		}
		if err != nil {
			return digest{}, err
		}
		for _, m := range list {
			feed(sum, m, unix.NFTA_CHAIN_NAME, unix.NFTA_CHAIN_HANDLE)
		}
		if err := feedRules(sum, name); err != nil {
			return digest{}, err
		}
	}
	return digest(sum.Sum(nil)), nil
}

func feed(sum hash.Hash, m message, attrs ...uint16) {
	for _, a := range attrs {
		fmt.Fprintf(sum, "%d %d ", a, len(m[a]))
		sum.Write(m[a])
	}
}
