package schema

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Tree is what a decoder reads from: the mirror of the view, or a test's map.
type Tree interface {
	// Data returns the value and version of a znode, ok false if it does not exist.
	Data(path string) (data string, version int32, ok bool)
	// Children returns the names below a znode, in any order.
	Children(path string) []string
}

// Text reads a value as text: "None", empty and missing are all the empty string.
func Text(data string) string {
	if data == "None" {
		return ""
	}
	return data
}

// DecodeVM reads a VM; ok is false if it does not exist or is not complete enough
// to be one (a half-deleted tree of an old client). Malformed additive records are
// reported and read as absent.
func DecodeVM(t Tree, uuid string) (vm *model.VM, ok bool, err error) {
	name, v, ok := t.Data(VM(uuid))
	if !ok {
		return nil, false, nil
	}
	vm = &model.VM{UUID: uuid, Name: name}
	vm.Versions.Name = v
	text := func(key string, version *int32) string {
		d, v, _ := t.Data(VM(uuid, key))
		*version = v
		return Text(d)
	}
	vm.State = model.VMState(text(VMState, &vm.Versions.State))
	vm.Node = text(VMNode, &vm.Versions.Node)
	vm.LastNode = text(VMLastNode, &vm.Versions.LastNode)
	vm.FailedReason = text(VMFailedReason, &vm.Versions.FailedReason)
	vm.RBDList = model.SplitList(text(VMRBDList, &vm.Versions.RBDList), ",")
	vm.XML = text(VMXML, &vm.Versions.XML)
	if vm.State == "" || vm.XML == "" {
		return nil, false, nil
	}
	vm.Gen = genOf(t.Children(VM(uuid)))
	if d, v, there := t.Data(VM(uuid, VMMigration)); there && len(d) > 0 {
		vm.Versions.Migration = v
		vm.Migration = new(model.Migration)
		if err = json.Unmarshal([]byte(d), vm.Migration); err != nil {
			vm.Migration, err = nil, fmt.Errorf("%s: %w", VM(uuid, VMMigration), err)
		}
	}
	if d, _, there := t.Data(VM(uuid, VMCrashes)); there {
		vm.Crashes = max(len(DecodeCrashes(d).Times), 1)
	}
	if d, v, there := t.Data(Claim(uuid)); there {
		vm.Versions.Claim = v
		claim, cerr := DecodeClaim(d)
		vm.Claim = claim
		if cerr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", Claim(uuid), cerr))
		}
	}
	return vm, true, err
}

// DecodeCrashes reads a record of crashes; an unreadable one is empty.
func DecodeCrashes(data string) (c model.Crashes) {
	_ = json.Unmarshal([]byte(data), &c)
	return c
}

func genOf(children []string) string {
	for _, c := range children {
		if g, ok := strings.CutPrefix(c, VMGenPrefix); ok {
			return g
		}
	}
	return ""
}

// DecodeClaim reads a claim. A malformed one is still a claim: somebody may be
// writing, so it is returned with an owner that is no node, beside the error.
func DecodeClaim(data string) (*model.Claim, error) {
	c := new(model.Claim)
	err := json.Unmarshal([]byte(data), c)
	if err == nil && c.Owner.Node == "" {
		err = errors.New("a claim without an owner")
	}
	if err != nil {
		return &model.Claim{Owner: model.ClaimHost{Node: "unreadable"}}, err
	}
	return c, nil
}

// DecodeNode reads a node; ok is false if it does not exist or has no daemon mode yet.
func DecodeNode(t Tree, name string) (n *model.Node, ok bool, err error) {
	if _, _, ok = t.Data(Node(name)); !ok {
		return nil, false, nil
	}
	n = &model.Node{Name: name}
	text := func(key string) string {
		d, _, _ := t.Data(Node(name, key))
		return Text(d)
	}
	number := func(key string) int {
		s := text(key)
		if s == "" {
			return 0
		}
		i, perr := strconv.Atoi(s)
		if perr != nil {
			err = errors.Join(err, notNumber(name, key, s))
			return 0 // out of range, Atoi returns the nearest
		}
		return i
	}
	n.Mode = model.DaemonMode(text(NodeDaemonMode))
	if n.Mode == "" {
		return nil, false, nil
	}
	n.DaemonState = model.DaemonState(text(NodeDaemonState))
	n.RouterState = model.RouterState(text(NodeRouterState))
	n.DomainState = model.DomainState(text(NodeDomainState))
	_, n.Versions.DaemonState, _ = t.Data(Node(name, NodeDaemonState))
	_, n.Versions.RouterState, _ = t.Data(Node(name, NodeRouterState))
	_, n.Versions.DomainState, _ = t.Data(Node(name, NodeDomainState))
	static := strings.Fields(text(NodeStaticData))
	for len(static) < 4 {
		static = append(static, "")
	}
	var perr error
	if n.CPUCount, perr = strconv.Atoi(cmp.Or(static[0], "0")); perr != nil {
		n.CPUCount, err = 0, errors.Join(err, notNumber(name, NodeStaticData, static[0]))
	}
	n.Kernel, n.OS, n.Arch = static[1], static[2], static[3]
	n.MemTotal, n.MemUsed = number(NodeMemTotal), number(NodeMemUsed)
	n.MemFree, n.MemAlloc = number(NodeMemFree), number(NodeMemAlloc)
	n.VCPUAlloc, n.DomainsCount = number(NodeVCPUAlloc), number(NodeDomainsCount)
	load := cmp.Or(text(NodeCPULoad), "0")
	if n.CPULoad, perr = strconv.ParseFloat(load, 64); perr != nil || math.IsNaN(n.CPULoad) || math.IsInf(n.CPULoad, 0) {
		n.CPULoad, err = 0, errors.Join(err, notNumber(name, NodeCPULoad, load)) // JSON has no word for NaN
	}
	n.RunningDomains = strings.Fields(text(NodeRunningDomains))
	n.Keepalive = int64(number(NodeKeepalive))
	n.Condition, n.FlushReport = text(NodeCondition), text(NodeFlush)
	if d, _, there := t.Data(Node(name, NodeFacts)); there && len(d) > 0 {
		if jerr := json.Unmarshal([]byte(d), &n.Facts); jerr != nil {
			n.Facts, err = model.NodeFacts{}, errors.Join(err, fmt.Errorf("%s: %w", Node(name, NodeFacts), jerr))
		}
	}
	n.SessionChild, n.Session = decodeSession(t, name)
	_, _, n.HasVMIndex = t.Data(Node(name, NodeVMs))
	n.VMs = append([]string(nil), t.Children(Node(name, NodeVMs))...)
	sort.Strings(n.VMs)
	return n, true, err
}

func notNumber(node, key, value string) error {
	return fmt.Errorf("%s: %q is not a number", Node(node, key), model.Clip(value))
}

// decodeSession returns the identity child of a node's session, nil if there is none.
func decodeSession(t Tree, name string) (string, *model.NodeSession) {
	children := t.Children(Node(name, NodeSession))
	if len(children) == 0 {
		return "", nil
	}
	s := new(model.NodeSession)
	if d, _, ok := t.Data(Node(name, NodeSession)); ok {
		// The child alone is liveness; what its container says is informative.
		_ = json.Unmarshal([]byte(d), s)
	}
	return children[0], s
}
