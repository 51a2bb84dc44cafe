package dns

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Options are what a Server is told once.
type Options struct {
	// Forward are the upstream servers for names that are not ours. None: such
	// questions are refused.
	Forward []netip.AddrPort
	// Transfer are the secondaries: their addresses may transfer every zone and are
	// told of changes, at their port or 53 if that is 0.
	Transfer []netip.AddrPort
	// NameServer is the name of this server in SOA and NS records, a domain name.
	// Empty, or not a domain name: "pvc-ns" in each domain.
	NameServer string
	// Addresses are those of the server besides the gateways: the floating ones, with the
	// lengths of their networks. They belong to its name, and NOTIFY is sent from one.
	Addresses []netip.Prefix
	// Serial is the highest serial that another primary may have given; 0: not known.
	Serial uint32
	Log    *slog.Logger // nil: slog.Default()
	// Control, if not nil, sees each socket before it is bound (net.ListenConfig).
	Control func(network, address string, c syscall.RawConn) error
}

// Server answers, forwards and tells the secondaries. Its methods may be called at the
// same time.
type Server struct {
	o     Options
	table atomic.Pointer[table]

	update   sync.Mutex // of the fields below and the order of tables
	serial   uint32     // the highest one given
	remarked []string
	now      func() time.Time

	sockets     sockets
	secondaries []*secondary
	upstream    upstream
	limits      limits
	transfers   chan struct{} // as many at a time

	ctx    context.Context // ends with Run
	cancel context.CancelFunc
}

// New returns a server without zones and sockets.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.NameServer = canonicalServer(o)
	s := &Server{o: o, serial: o.Serial, now: time.Now, limits: newLimits(), transfers: make(chan struct{}, maxTransfers)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.upstream = newUpstream(o.Forward, s.sockets.has)
	for _, a := range o.Transfer {
		s.secondaries = append(s.secondaries, newSecondary(a, s))
	}
	s.table.Store(&table{})
	return s
}

func canonicalServer(o Options) string {
	if o.NameServer == "" {
		return ""
	}
	name, err := model.ParseDomain(o.NameServer)
	if err != nil {
		o.Log.Warn("the name server takes a name in each domain", "err", err)
		return ""
	}
	return name + "."
}

// Update replaces everything the server knows: from its return on every answer is from
// the zones given. What cannot be published (a host name that is none, or that is
// taken) is left out and logged when that is new. Nothing of zones is kept.
func (s *Server) Update(zones []Zone) {
	var own []netip.Addr
	for _, p := range s.o.Addresses {
		own = append(own, p.Addr())
	}
	contents, remarks := build(zones, s.o.NameServer, own)
	guests := newBlockSet(zones)
	s.update.Lock()
	defer s.update.Unlock()
	serial := nextSerial(s.serial, uint32(s.now().Unix()))
	next, changed := s.table.Load().update(contents, guests, serial)
	s.table.Store(next)
	for _, r := range remarks {
		if !slices.Contains(s.remarked, r) {
			s.o.Log.Warn("not in the DNS", "reason", r)
		}
	}
	s.remarked = remarks
	if len(changed) > 0 {
		s.serial = serial
		for _, n := range s.secondaries {
			n.tell(changed)
		}
	}
}

// Serial returns the highest serial that any zone has had; 0 if there was none. The
// next primary should get it as Options.Serial: then no zone of it has a lower one,
// whatever its clock says.
func (s *Server) Serial() uint32 {
	s.update.Lock()
	defer s.update.Unlock()
	return s.serial
}

// Run tells the secondaries of changes until ctx ends. Then it closes all sockets and
// waits for the answers under way. A server runs once.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, n := range s.secondaries {
		wg.Go(func() { n.run(ctx) })
	}
	<-ctx.Done()
	s.cancel()
	s.sockets.end()
	wg.Wait()
	return nil
}
