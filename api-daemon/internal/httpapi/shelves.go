package httpapi

import (
	"slices"
	"strconv"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// shelves are the prepared VMs, nodes, networks and objects of storage.
type shelves struct {
	mirror Mirror
	// instance makes the ETags of this process its own: another one counts its
	// generations from elsewhere.
	instance string
	vms      *shelf[*model.VM]
	nodes    *shelf[nodeState]
	networks *shelf[*model.Network]
	storage  storageShelves
	shares   shares
}

// nodeState is what a node is rendered from.
type nodeState struct {
	node        *model.Node
	provisioned int // MiB of all VMs that are assigned to it
}

func newShelves(m Mirror, instance string) *shelves {
	s := &shelves{mirror: m, instance: instance, vms: newShelf[*model.VM](), nodes: newShelf[nodeState](), networks: newShelf[*model.Network]()}
	s.storage = newStorageShelves(s)
	return s
}

func (s *shelves) etag(what string, generation uint64) string {
	return `W/"` + s.instance + "-" + what + "-" + strconv.FormatUint(generation, 10) + `"`
}

// specChunk is how many documents are parsed while the view is held.
const specChunk = 64

// eachSpec calls fn with every VM's parsed document. It holds the view only for some
// of them at a time: parsing thousands takes a second.
func (s *shelves) eachSpec(vms []*model.VM, fn func(*model.VM, *domxml.Spec, error)) {
	for chunk := range slices.Chunk(vms, specChunk) {
		s.mirror.Read(func(p Picture) {
			for _, vm := range chunk {
				spec, err := p.Spec(vm)
				fn(vm, spec, err)
			}
		})
	}
}

func (s *shelves) renderVM(vm *model.VM) []byte {
	var spec *domxml.Spec
	var err error
	s.mirror.Read(func(p Picture) { spec, err = p.Spec(vm) })
	return encode(vmAnswer(vm, spec, err))
}

func renderNode(n nodeState) []byte { return encode(nodeAnswer(n.node, n.provisioned)) }

// vmList is the list of all VMs and its ETag.
func (s *shelves) vmList() *reply {
	var wanted uint64
	s.mirror.Read(func(p Picture) { wanted = p.VMGeneration() })
	list := s.vms.whole(wanted, s.collectVMs, s.renderVM)
	return &reply{media: mediaJSON, body: list.parts, gzip: list.gzip, etag: s.etag("vm", list.generation)}
}

func (s *shelves) collectVMs() (generation uint64, items []item[*model.VM]) {
	s.mirror.Read(func(p Picture) {
		generation = p.VMGeneration()
		items = vmItems(p.VMs())
	})
	return generation, items
}

func vmItems(vms []*model.VM) []item[*model.VM] {
	items := make([]item[*model.VM], len(vms))
	for i, vm := range vms {
		items[i] = item[*model.VM]{vm.UUID, vm}
	}
	return items
}

// someVMs is a list of the VMs given, of one generation.
func (s *shelves) someVMs(generation uint64, vms []*model.VM) *reply {
	return &reply{media: mediaJSON, body: s.vms.some(vmItems(vms), s.renderVM), etag: s.etag("vm", generation)}
}

// oneVM is the list of one VM.
func (s *shelves) oneVM(generation uint64, vm *model.VM) *reply {
	return &reply{media: mediaJSON, body: [][]byte{listBegin, s.vms.get(vm.UUID, vm, s.renderVM), listEnd}, etag: s.etag("vm", generation)}
}

// nodeList is the list of all nodes.
func (s *shelves) nodeList() *reply {
	var wanted uint64
	s.mirror.Read(func(p Picture) { wanted = p.Generation() })
	list := s.nodes.whole(wanted, s.collectNodes, renderNode)
	return &reply{media: mediaJSON, body: list.parts, gzip: list.gzip, etag: s.etag("node", list.generation)}
}

func (s *shelves) collectNodes() (uint64, []item[nodeState]) {
	generation, nodes := s.snapshotNodes()
	return generation, s.nodeItems(nodes)
}

func (s *shelves) snapshotNodes() (generation uint64, nodes []*model.Node) {
	s.mirror.Read(func(p Picture) {
		generation = p.Generation()
		nodes = slices.Clone(p.Nodes())
	})
	return generation, nodes
}

// someNodes is a list of the nodes given, of one generation.
func (s *shelves) someNodes(generation uint64, nodes []*model.Node) *reply {
	return &reply{media: mediaJSON, body: s.nodes.some(s.nodeItems(nodes), renderNode), etag: s.etag("node", generation)}
}

func (s *shelves) nodeItems(nodes []*model.Node) []item[nodeState] {
	shares := s.provisioned()
	items := make([]item[nodeState], len(nodes))
	for i, n := range nodes {
		items[i] = item[nodeState]{n.Name, nodeState{n, shares[n.Name]}}
	}
	return items
}

func renderNetwork(n *model.Network) []byte { return encode(networkAnswer(n)) }

// networkList is the list of all networks.
func (s *shelves) networkList() *reply {
	var wanted uint64
	s.mirror.Read(func(p Picture) { wanted = p.NetworkGeneration() })
	list := s.networks.whole(wanted, func() (uint64, []item[*model.Network]) {
		generation, networks := s.snapshotNetworks()
		return generation, networkItems(networks)
	}, renderNetwork)
	return &reply{media: mediaJSON, body: list.parts, gzip: list.gzip, etag: s.etag("network", list.generation)}
}

func (s *shelves) snapshotNetworks() (generation uint64, networks []*model.Network) {
	s.mirror.Read(func(p Picture) {
		generation = p.NetworkGeneration()
		networks = slices.Clone(p.Networks())
	})
	return generation, networks
}

// someNetworks is a list of the networks given, of one generation.
func (s *shelves) someNetworks(generation uint64, networks []*model.Network) *reply {
	return &reply{media: mediaJSON, body: s.networks.some(networkItems(networks), renderNetwork), etag: s.etag("network", generation)}
}

func networkItems(networks []*model.Network) []item[*model.Network] {
	items := make([]item[*model.Network], len(networks))
	for i, n := range networks {
		items[i] = item[*model.Network]{strconv.Itoa(n.VNI), n}
	}
	return items
}

// shares are the MiB of all VMs assigned to each node, running or not, as of one
// generation of the VMs.
type shares struct {
	mu         sync.Mutex
	known      bool
	generation uint64
	byNode     map[string]int
}

// provisioned returns the shares; the map is not changed afterwards.
func (s *shelves) provisioned() map[string]int {
	s.shares.mu.Lock()
	defer s.shares.mu.Unlock()
	var vms []*model.VM
	var generation uint64
	s.mirror.Read(func(p Picture) {
		if generation = p.VMGeneration(); !s.shares.known || generation != s.shares.generation {
			vms = slices.Clone(p.VMs())
		}
	})
	if s.shares.known && generation == s.shares.generation {
		return s.shares.byNode
	}
	byNode := make(map[string]int)
	s.eachSpec(vms, func(vm *model.VM, spec *domxml.Spec, err error) {
		if err == nil {
			byNode[vm.Node] += spec.MemoryMiB
		}
	})
	s.shares.known, s.shares.generation, s.shares.byNode = true, generation, byNode
	return byNode
}
