package httpapi

import (
	"context"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// Picture is the cluster at one moment; *view.Snapshot is one.
type Picture interface {
	Generation() uint64
	VMGeneration() uint64
	VMs() []*model.VM
	FindVM(ref string) (*model.VM, error)
	Nodes() []*model.Node
	Node(name string) (*model.Node, bool)
	NetworkGeneration() uint64
	Networks() []*model.Network
	FindNetwork(ref string) (*model.Network, error)
	StorageGeneration() uint64
	OSDs() []*model.OSD
	OSD(id int) (*model.OSD, bool)
	Pools() []*model.Pool
	Pool(name string) (*model.Pool, bool)
	Volumes(pool string) []*model.Volume
	Volume(pool, name string) (*model.Volume, bool)
	PrimaryNode() string
	Spec(vm *model.VM) (*domxml.Spec, error)
}

// Mirror is where reads come from.
type Mirror interface {
	// Read calls fn with a picture that does not change meanwhile. fn must be quick
	// and must keep neither the picture nor its slices; the objects may be kept.
	Read(fn func(Picture))
	Ready() bool
	Stale() (age time.Duration, stale bool)
}

// Changes is what handlers ask for; *cluster.Cluster does it.
type Changes interface {
	DefineVM(ctx context.Context, in cluster.DefineVM) (cluster.Answer, error)
	ModifyVM(ctx context.Context, in cluster.ModifyVM) (cluster.Answer, error)
	DeleteVM(ctx context.Context, in cluster.DeleteVM) (cluster.Answer, error)
	SetVMState(ctx context.Context, in cluster.SetVMState) (cluster.Answer, error)
	SetVMNode(ctx context.Context, in cluster.SetVMNode) (cluster.Answer, error)
	SetCoordinatorState(ctx context.Context, in cluster.SetCoordinatorState) (cluster.Answer, error)
	SetDomainState(ctx context.Context, in cluster.SetDomainState) (cluster.Answer, error)
	RemoveNode(ctx context.Context, node string) (cluster.Answer, error)
	CreateNetwork(ctx context.Context, in cluster.CreateNetwork) (cluster.Answer, error)
	ModifyNetwork(ctx context.Context, in cluster.ModifyNetwork) (cluster.Answer, error)
	RemoveNetwork(ctx context.Context, network string) (cluster.Answer, error)
	AddReservation(ctx context.Context, in cluster.AddReservation) (cluster.Answer, error)
	RemoveReservation(ctx context.Context, network, mac string) (cluster.Answer, error)
	AddRule(ctx context.Context, in cluster.AddRule) (cluster.Answer, error)
	RemoveRule(ctx context.Context, in cluster.RemoveRule) (cluster.Answer, error)
	ConsoleLog(ctx context.Context, vm string, lines int) (string, error)
	Storage
}

// Storage is what handlers ask for that concerns Ceph.
type Storage interface {
	// StorageKnown fails when there are no records of storage that could be shown.
	StorageKnown(ctx context.Context) error
	StorageStatus(ctx context.Context) (cluster.StorageText, error)
	StorageUsage(ctx context.Context) (cluster.StorageText, error)
	SetOption(ctx context.Context, in cluster.SetOption) (cluster.Answer, error)
	AddOSD(ctx context.Context, in cluster.AddOSD) (cluster.Begun, error)
	RemoveOSD(ctx context.Context, in cluster.RemoveOSD) (cluster.Begun, error)
	SetOSDState(ctx context.Context, in cluster.SetOSDState) (cluster.Answer, error)
	AddPool(ctx context.Context, in cluster.AddPool) (cluster.Answer, error)
	RemovePool(ctx context.Context, in cluster.RemovePool) (cluster.Answer, error)
	AddVolume(ctx context.Context, in cluster.AddVolume) (cluster.Answer, error)
	ModifyVolume(ctx context.Context, in cluster.ModifyVolume) (cluster.Answer, error)
	RemoveVolume(ctx context.Context, in cluster.RemoveVolume) (cluster.Answer, error)
	AddSnapshot(ctx context.Context, in cluster.AddSnapshot) (cluster.Answer, error)
	RemoveSnapshot(ctx context.Context, in cluster.RemoveSnapshot) (cluster.Answer, error)
	WaitFor(ctx context.Context, b cluster.Begun) (cluster.Answer, error)
	Task(id string) (command.Task, error)
}

// FromView makes a Mirror of a view.
func FromView(v *view.View) Mirror { return viewMirror{v} }

type viewMirror struct{ *view.View }

func (m viewMirror) Read(fn func(Picture)) {
	m.View.Read(func(s *view.Snapshot) { fn(s) })
}
