package firewall

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// What nf_tables holds is read with netlink: nft(8) lists one table of 200 in 7 ms but all of
// them in 4 s.

// Attributes that the unix package does not have, from linux/netfilter/nf_tables.h.
const (
	tableHandle   = 4
	tableUserdata = 6
	typeMask      = 1<<14 - 1 // without the flags of linux/netlink.h
)

// tries is how often a list is read that somebody changes meanwhile.
const tries = 10

// message is an answer of nf_tables: its attributes by number.
type message map[uint16][]byte

func (m message) text(attr uint16) string {
	return string(bytes.TrimRight(m[attr], "\x00"))
}

// ask sends a request to nf_tables about the inet family.
func ask(request uint16, flags int, table string) ([]message, error) {
	var answers [][]byte
	err := error(nl.ErrDumpInterrupted)
	for i := 0; i < tries && errors.Is(err, nl.ErrDumpInterrupted); i++ {
		req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|int(request), flags)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET, Version: nl.NFNETLINK_V0})
		if table != "" {
			req.AddData(nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(table)))
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
	answers, err := ask(unix.NFT_MSG_GETGEN, 0, "")
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

// loadedTables are the tables of ours in the kernel by VNI, each with a digest that changes
// whenever anything of it is made anew, removed, moved or switched off, by whomever. Handles
// stand for rules: the kernel never gives one twice in a table, and a rule is not edited in place.
//
// Reading rules takes most of the time: only of tables in which the caller is interested.
func loadedTables(interesting func(vni int) bool) (map[int][sha256.Size]byte, error) {
	tables, err := ask(unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, "")
	if err != nil {
		return nil, err
	}
	sums := map[int]hash.Hash{}
	for _, m := range tables {
		if vni, ok := vniOf(m.text(unix.NFTA_TABLE_NAME)); ok {
			sums[vni] = sha256.New()
			feed(sums[vni], m, tableHandle, unix.NFTA_TABLE_FLAGS)
		}
	}
	if len(sums) == 0 {
		return nil, nil
	}
	chains, err := ask(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, "")
	if err != nil {
		return nil, err
	}
	for _, m := range chains {
		if vni, ok := vniOf(m.text(unix.NFTA_CHAIN_TABLE)); ok && sums[vni] != nil {
			feed(sums[vni], m, unix.NFTA_CHAIN_NAME, unix.NFTA_CHAIN_HANDLE, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY)
		}
	}
	out := map[int][sha256.Size]byte{}
	for vni, sum := range sums {
		if !interesting(vni) {
			out[vni] = [sha256.Size]byte{}
			continue
		}
		if err := feedRules(sum, tableOf(vni)); err != nil {
			return nil, err
		}
		out[vni] = [sha256.Size]byte(sum.Sum(nil))
	}
	return out, nil
}

func feedRules(sum hash.Hash, table string) error {
	answers, err := ask(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, table)
	if errors.Is(err, unix.ENOENT) {
		return nil // gone meanwhile: the digest differs
	}
	for _, m := range answers {
		feed(sum, m, unix.NFTA_RULE_CHAIN, unix.NFTA_RULE_HANDLE)
	}
	return err
}

func feed(sum hash.Hash, m message, attrs ...uint16) {
	for _, a := range attrs {
		fmt.Fprintf(sum, "%d %d ", a, len(m[a]))
		sum.Write(m[a])
	}
}

// vniOf is the VNI of a table's name if the table is ours.
func vniOf(table string) (int, bool) {
	number, ok := strings.CutPrefix(table, "pvc-")
	if !ok {
		return 0, false
	}
	return schema.ParseVNI(number)
}

// holdsWhole reports whether the kernel's table of a network has all rules that were
// recorded when it was loaded, and the frame.
func holdsWhole(vni int, frame string) (bool, error) {
	tables, err := ask(unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, "")
	for _, m := range tables {
		if m.text(unix.NFTA_TABLE_NAME) == tableOf(vni) {
			return bytes.Contains(m[tableUserdata], []byte(whole(frame))), nil
		}
	}
	return false, err
}
