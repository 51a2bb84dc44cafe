package view

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// tables are the decoded objects. The objects are immutable; the tables are guarded
// by the view.
type tables struct {
	vms     map[string]*model.VM
	names   map[string][]string // UUIDs by name; more than one only with old clients
	nodes   map[string]*model.Node
	nets    map[int]*model.Network
	config  map[string]string
	primary string // wish
	holder  string // fact

	primaryVersion, domainsVersion, networksVersion int32

	generation, vmGeneration, nodeGeneration, networkGeneration, commandGeneration uint64

	storage  storage
	commands map[string]*model.Command // by id

	commandOrder commandOrder

	sortMu sync.Mutex
	sorted []*model.VM // by name; nil when it has to be made

	specs *specs
}

func newTables() *tables {
	return &tables{
		vms: map[string]*model.VM{}, names: map[string][]string{}, nodes: map[string]*model.Node{}, nets: map[int]*model.Network{},
		storage: newStorage(), commands: map[string]*model.Command{},
		config: map[string]string{}, primary: schema.NoPrimary, specs: &specs{byUUID: map[string]*spec{}},
	}
}

func (t *tables) load(tr schema.Tree, log *slog.Logger) {
	for _, n := range tr.Children(schema.Nodes) {
		t.updateNode(tr, n, log)
	}
	for _, u := range tr.Children(schema.Domains) {
		t.updateVM(tr, u, log)
	}
	for _, name := range tr.Children(schema.Networks) {
		if vni, ok := schema.ParseVNI(name); ok {
			t.updateNetwork(tr, vni, log)
		}
	}
	t.storage.load(tr, log)
	for _, id := range tr.Children(schema.Commands) {
		t.updateCommand(tr, id, log)
	}
	for _, root := range []string{schema.Primary, schema.Config, schema.Domains, schema.Networks} {
		t.update(tr, root, log)
	}
}

func (t *tables) update(tr schema.Tree, group string, log *slog.Logger) {
	t.generation++
	if uuid, ok := groupUUID(group); ok {
		t.updateVM(tr, uuid, log)
	} else if name, ok := groupNode(group); ok {
		t.updateNode(tr, name, log)
	} else if vni, ok := groupVNI(group); ok {
		t.updateNetwork(tr, vni, log)
	} else if Below(group, schema.Ceph) {
		t.storage.update(tr, group, log)
	} else if id, ok := groupCommand(group); ok {
		t.updateCommand(tr, id, log)
	} else if group == schema.Networks {
		_, t.networksVersion, _ = tr.Data(schema.Networks)
	} else if group == schema.Primary {
		t.updatePrimary(tr)
	} else if group == schema.Domains {
		_, t.domainsVersion, _ = tr.Data(schema.Domains)
	} else if group == schema.Config {
		clear(t.config)
		for _, k := range tr.Children(schema.Config) {
			d, _, _ := tr.Data(schema.ConfigKey(k))
			t.config[k] = d
		}
	}
}

func (t *tables) updatePrimary(tr schema.Tree) {
	d, v, _ := tr.Data(schema.Primary)
	t.primaryVersion = v
	t.primary = cmp.Or(schema.Text(d), schema.NoPrimary)
	t.holder, _, _ = tr.Data(schema.PrimaryHolder)
}

func (t *tables) updateNode(tr schema.Tree, name string, log *slog.Logger) {
	n, ok, err := schema.DecodeNode(tr, name)
	if err != nil {
		log.Warn("a node has an unreadable value", "node", name, "err", err)
	}
	t.nodeGeneration++
	if ok {
		t.nodes[name] = n
	} else {
		delete(t.nodes, name)
	}
}

func (t *tables) updateNetwork(tr schema.Tree, vni int, log *slog.Logger) {
	n, ok, err := schema.DecodeNetwork(tr, vni)
	if err != nil {
		log.Warn("a network has an unreadable value", "network", vni, "err", err)
	}
	t.networkGeneration++
	if ok {
		t.nets[vni] = n
	} else {
		delete(t.nets, vni)
	}
}

func (t *tables) updateVM(tr schema.Tree, uuid string, log *slog.Logger) {
	vm, ok, err := schema.DecodeVM(tr, uuid)
	if err != nil {
		log.Warn("a VM has an unreadable value", "vm", uuid, "err", err)
	}
	old := t.vms[uuid]
	if !ok && old == nil {
		return
	}
	t.vmGeneration++
	if ok && old != nil && old.Name == vm.Name {
		t.vms[uuid] = vm
		t.replaceSorted(old, vm)
		return
	}
	t.sorted = nil
	if old != nil {
		delete(t.vms, uuid)
		t.specs.drop(uuid)
		if t.names[old.Name] = slices.DeleteFunc(t.names[old.Name], func(u string) bool { return u == uuid }); len(t.names[old.Name]) == 0 {
			delete(t.names, old.Name)
		}
	}
	if ok {
		t.vms[uuid] = vm
		t.names[vm.Name] = append(t.names[vm.Name], uuid)
	}
}

func byName(a, b *model.VM) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.UUID, b.UUID))
}

func (t *tables) replaceSorted(old, vm *model.VM) {
	if t.sorted == nil {
		return
	}
	if i, ok := slices.BinarySearchFunc(t.sorted, old, byName); ok {
		t.sorted[i] = vm
	}
}

// Snapshot is the cluster at one moment, valid inside View.Read.
type Snapshot struct{ t *tables }

// Generation changes with every change of anything.
func (s *Snapshot) Generation() uint64 { return s.t.generation }

// VMGeneration changes with every change of a VM.
func (s *Snapshot) VMGeneration() uint64 { return s.t.vmGeneration }

// NodeGeneration changes with every change of a node.
func (s *Snapshot) NodeGeneration() uint64 { return s.t.nodeGeneration }

// VMs returns all VMs by name. The slice belongs to the view.
func (s *Snapshot) VMs() []*model.VM {
	t := s.t
	t.sortMu.Lock()
	defer t.sortMu.Unlock()
	if t.sorted == nil {
		t.sorted = make([]*model.VM, 0, len(t.vms))
		for _, vm := range t.vms {
			t.sorted = append(t.sorted, vm)
		}
		slices.SortFunc(t.sorted, byName)
	}
	return t.sorted
}

// VM returns the VM with that UUID.
func (s *Snapshot) VM(uuid string) (*model.VM, bool) {
	vm, ok := s.t.vms[uuid]
	return vm, ok
}

// FindVM returns the VM of that name, or of that UUID in any notation. Unknown is
// errs.NotFound; a name that an old client gave twice is errs.Conflict.
func (s *Snapshot) FindVM(ref string) (*model.VM, error) {
	if uuid, ok := model.ParseUUID(ref); ok {
		if vm, ok := s.t.vms[uuid]; ok {
			return vm, nil
		}
		return nil, errs.NotFoundf("no VM has the UUID %q", uuid)
	}
	switch uuids := s.t.names[ref]; len(uuids) {
	case 0:
		return nil, errs.NotFoundf("no VM is named %q", model.Clip(ref))
	case 1:
		return s.t.vms[uuids[0]], nil
	default:
		return nil, errs.Conflictf("%d VMs are named %q, use a UUID: %s", len(uuids), ref, strings.Join(uuids, ", "))
	}
}

// NameTaken reports whether a VM of that name exists.
func (s *Snapshot) NameTaken(name string) bool { return len(s.t.names[name]) > 0 }

// Nodes returns all nodes by name.
func (s *Snapshot) Nodes() []*model.Node {
	out := make([]*model.Node, 0, len(s.t.nodes))
	for _, n := range s.t.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *model.Node) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Node returns the node of that name.
func (s *Snapshot) Node(name string) (*model.Node, bool) {
	n, ok := s.t.nodes[name]
	return n, ok
}

// NetworkGeneration changes with every change of a network.
func (s *Snapshot) NetworkGeneration() uint64 { return s.t.networkGeneration }

// Networks returns all networks by VNI.
func (s *Snapshot) Networks() []*model.Network {
	out := make([]*model.Network, 0, len(s.t.nets))
	for _, n := range s.t.nets {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *model.Network) int { return cmp.Compare(a.VNI, b.VNI) })
	return out
}

// Network returns the network of that VNI.
func (s *Snapshot) Network(vni int) (*model.Network, bool) {
	n, ok := s.t.nets[vni]
	return n, ok
}

// FindNetwork returns the network of that VNI or description. Unknown is
// errs.NotFound; a description that an old client gave twice is errs.Conflict.
func (s *Snapshot) FindNetwork(ref string) (*model.Network, error) {
	if vni, err := strconv.Atoi(ref); err == nil {
		if n, ok := s.t.nets[vni]; ok {
			return n, nil
		}
		return nil, errs.NotFoundf("no network has the VNI %q", model.Clip(ref))
	}
	var found []*model.Network
	for _, n := range s.Networks() {
		if n.Description == ref {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
		return nil, errs.NotFoundf("no network has the description %q", model.Clip(ref))
	case 1:
		return found[0], nil
	}
	return nil, errs.Conflictf("%d networks have the description %q, use a VNI: the first is %d", len(found), ref, found[0].VNI)
}

// PrimaryNode is the node that holds the primary role, "none" if there is none.
func (s *Snapshot) PrimaryNode() string {
	if s.t.holder == "" {
		return schema.NoPrimary
	}
	return s.t.holder
}

// WantedPrimary is the node that is asked to be primary, "none" if any will do.
func (s *Snapshot) WantedPrimary() string { return s.t.primary }

// PrimaryVersion is the version of the wish, DomainsVersion that of the root of the
// VMs, which every definition sets so that two of them exclude each other.
func (s *Snapshot) PrimaryVersion() int32 { return s.t.primaryVersion }

// DomainsVersion: see PrimaryVersion.
func (s *Snapshot) DomainsVersion() int32 { return s.t.domainsVersion }

// NetworksVersion is the version of the root of the networks, which every change that
// has to be checked against all networks sets.
func (s *Snapshot) NetworksVersion() int32 { return s.t.networksVersion }

// TargetSelector is the cluster's default selector.
func (s *Snapshot) TargetSelector() model.Selector {
	sel, err := model.ParseSelector(s.t.config[schema.ConfigTargetSelector])
	if err != nil {
		return model.SelectMem
	}
	return sel
}

// SharedDirectories are the directories that all hosts share.
func (s *Snapshot) SharedDirectories() []string {
	var dirs []string
	_ = json.Unmarshal([]byte(s.t.config[schema.ConfigSharedDirectories]), &dirs) // unset or unreadable: none
	return dirs
}

// Spec returns what a VM's XML says. It is parsed once per document.
func (s *Snapshot) Spec(vm *model.VM) (*domxml.Spec, error) { return s.t.specs.get(vm) }

// specs memoizes parsed documents.
type specs struct {
	mu     sync.Mutex
	byUUID map[string]*spec
}

type spec struct {
	xml  string
	once sync.Once
	spec *domxml.Spec
	err  error
}

func (c *specs) get(vm *model.VM) (*domxml.Spec, error) {
	c.mu.Lock()
	s := c.byUUID[vm.UUID]
	if s == nil || s.xml != vm.XML {
		s = &spec{xml: vm.XML}
		c.byUUID[vm.UUID] = s
	}
	c.mu.Unlock()
	s.once.Do(func() { s.spec, s.err = domxml.Parse(s.xml) })
	return s.spec, s.err
}

func (c *specs) drop(uuid string) {
	c.mu.Lock()
	delete(c.byUUID, uuid)
	c.mu.Unlock()
}
