package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// Network is what a host needs to know of a virtual network to make its devices.
type Network struct {
	VNI  int
	Type model.NetworkType
	// MTU in bytes. 0 is the largest that fits: the MTU of the device below for a
	// bridged network; 50 bytes less for a managed one over IPv4, 70 over IPv6.
	MTU int
}

// Underlay is what the devices stand on.
type Underlay struct {
	Device        string     // of the cluster network, carries VXLAN
	Local         netip.Addr // the host's own address there
	BridgedDevice string     // carries VLANs, may be a bridge of Open vSwitch; empty if the host has none
	SwitchDB      string     // where Open vSwitch has its database, as --db of ovs-vsctl(8); empty: at the usual place
	Port          int        // UDP port of VXLAN; 0 is 4789, that of RFC 7348
}

// defaultPort is the port IANA has assigned to VXLAN.
const defaultPort = 4789

// Desired is what there is to be: everything else that is ours goes.
type Desired struct {
	Networks []Network
	// Peers are the cluster addresses of the other hosts that have networks. A host
	// that may still run guests belongs here, even if nothing is heard of it.
	Peers []netip.Addr
}

// Result holds, by VNI, why a network is not complete on this host. A network that is
// complete is not in it. Keys may be networks that are no longer desired, if their
// devices could not be removed. The errors are of the kinds of common/errs.
type Result map[int]error

// Links makes and repairs the devices of a host. Its methods may be called from
// several goroutines.
type Links struct {
	underlay Underlay
	log      *slog.Logger
	ovs      ovs
	vlans    func() error // of the kernel

	mu     sync.Mutex
	kernel *kernel // nil until it is needed, and after it failed
	asked  asked
}

// New returns the links of the host whose network name space the process is in.
// Nothing is read or changed before Apply.
func New(u Underlay, log *slog.Logger) *Links {
	if u.Port == 0 {
		u.Port = defaultPort
	}
	u.Local = u.Local.Unmap()
	return &Links{underlay: u, log: log, ovs: ovs{run.System{}, u.SwitchDB}, vlans: sync.OnceValue(probeVLANs)}
}

// Close gives the sockets back. Links may be used again afterwards.
func (l *Links) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close()
}

func (l *Links) close() {
	if l.kernel != nil {
		l.kernel.close()
		l.kernel = nil
	}
}

func (l *Links) open() error {
	if l.kernel != nil {
		return nil
	}
	k, err := openKernel(l.underlay)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	l.kernel = k
	return nil
}

// Apply makes the devices of the host agree with what is desired and says which
// networks are not complete. The error is for what concerns all of them: the kernel
// cannot be read, or ctx has ended before everything was looked at.
func (l *Links) Apply(ctx context.Context, want Desired) (Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(); err != nil {
		return nil, err
	}
	have, err := l.kernel.read(ctx)
	if err != nil {
		l.close() // a socket that has lost step must not be asked again
		return nil, fmt.Errorf("read the network devices: %w", err)
	}
	g := ground{Underlay: l.underlay, switching: l.readSwitches(ctx, want, &have), vlans: l.vlanFault(want)}
	return l.execute(ctx, plan(g, want, have))
}

// vlanFault asks only if somebody needs the answer. Where it could not be found out,
// the attempt to make a device will tell.
func (l *Links) vlanFault(want Desired) error {
	if want.bridged() {
		if err := l.vlans(); errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}

func (d Desired) bridged() bool {
	return slices.ContainsFunc(d.Networks, func(n Network) bool { return n.Type == model.NetworkBridged })
}

func (l *Links) execute(ctx context.Context, todo []work) (Result, error) {
	result, steps, port := Result{}, 0, l.switchSteps(ctx)
	do := func(s step) error {
		if s.kind == kindPort {
			return port(s)
		}
		return l.kernel.do(s)
	}
	for _, w := range todo {
		if err := ctx.Err(); err != nil {
			return result, fmt.Errorf("apply networks: %w", err)
		}
		done, failed := perform(w, do, l.log)
		faults := append(w.faults, failed...)
		steps += done
		if len(faults) > 0 {
			result[w.vni] = errors.Join(append([]error{result[w.vni]}, faults...)...)
		}
	}
	if steps > 0 {
		l.log.Info("network devices changed", "steps", steps, "incomplete", len(result))
	}
	return result, nil
}

// perform goes on after a step that failed, because a bridge without some option is
// better than none; only what depends on a device that could not be made or removed is left out.
func perform(w work, do func(step) error, log *slog.Logger) (done int, faults []error) {
	missing := map[string]bool{} // devices that could not be made, or not removed
	for _, s := range w.steps {
		if missing[s.device] || missing[s.to] {
			continue
		}
		if err := do(s); err != nil {
			missing[s.device] = missing[s.device] || s.op == create || s.op == remove
			faults = append(faults, fmt.Errorf("%s: %w", s, err))
			continue
		}
		done++
		log.Debug("network device changed", "network", w.vni, "step", s.String())
	}
	return done, faults
}
