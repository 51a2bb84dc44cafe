package liveness

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// record is what ZooKeeper holds of a node before it registers.
type record struct {
	exists      bool
	keys        map[string]bool // children of the node
	hasSession  bool            // the container is there: our release has registered it before
	session     model.NodeSession
	version     int32    // of the container
	live        []string // identity children of running daemons
	holder      bool     // the first of them belongs to the session that is primary
	daemonState model.DaemonState
}

// readRecord reads the node's record.
func readRecord(ctx context.Context, conn coord.Conn, node string) (rec record, err error) {
	names, _, err := conn.Children(ctx, schema.Node(node))
	if errors.Is(err, coord.ErrNoNode) {
		return record{}, nil
	}
	if err != nil {
		return rec, err
	}
	rec.exists, rec.keys = true, map[string]bool{}
	for _, n := range names {
		rec.keys[n] = true
	}
	data, st, err := conn.Get(ctx, schema.Node(node, schema.NodeSession))
	if err == nil {
		rec.hasSession, rec.version = true, st.Version
		// An unreadable container identifies nobody: no daemon is taken for our own past.
		_ = json.Unmarshal(data, &rec.session)
		rec.live, _, err = conn.Children(ctx, schema.Node(node, schema.NodeSession))
	}
	if err != nil && !errors.Is(err, coord.ErrNoNode) {
		return rec, err
	}
	if len(rec.live) > 0 {
		if rec.holder, err = holdsPrimary(ctx, conn, node, rec.live[0]); err != nil {
			return rec, err
		}
	}
	state, _, err := conn.Get(ctx, schema.Node(node, schema.NodeDaemonState))
	if errors.Is(err, coord.ErrNoNode) {
		err = nil
	}
	rec.daemonState = model.DaemonState(state)
	return rec, err
}

// holdsPrimary reports whether the session of an identity child is the primary's.
func holdsPrimary(ctx context.Context, conn coord.Conn, node, child string) (bool, error) {
	mine, there, err := conn.Exists(ctx, schema.Node(node, schema.NodeSession, child))
	if err != nil || !there {
		return false, err
	}
	holder, there, err := conn.Exists(ctx, schema.PrimaryHolder)
	return there && holder.Owner == mine.Owner && mine.Owner != 0, err
}

// identity is what a registration writes about the daemon.
type identity struct {
	node    string
	child   string // name of the identity child
	mode    model.DaemonMode
	static  string
	ipmi    IPMI
	session model.NodeSession
	mem     memory // of the host now, so that a new node can be given VMs at once
	load    string
}

// rest is what becomes of the sessions that a record shows.
type rest uint8

const (
	restNone  rest = iota // there is none
	restOwn               // of a process of this boot that is certainly gone: delete it
	restWait              // of an earlier boot of this machine: it will expire
	restAlien             // of another machine
)

// judgeRest says what the live sessions of a record are. The caller holds the host's
// lock file, so a process of this machine and this boot that is not us has ended.
func judgeRest(rec record, me model.NodeSession) rest {
	switch {
	case len(rec.live) == 0:
		return restNone
	case rec.session.MachineID != me.MachineID:
		return restAlien
	case rec.session.BootID != me.BootID:
		return restWait
	case !strings.HasPrefix(rec.live[0], childPrefix(me.BootID)) || len(rec.live) > 1:
		return restWait
	}
	return restOwn
}

func childPrefix(bootID string) string { return "session-" + bootID + "-" }

// registration builds the transaction that registers the daemon: everything at once,
// and only if nobody else does so meanwhile. What clients and users have set and what
// was counted is kept.
func registration(rec record, id identity, now time.Time) coord.Txn {
	var txn coord.Txn
	router := model.RouterClient
	if id.mode == model.ModeCoordinator {
		router = model.RouterSecondary
	}
	session, _ := json.Marshal(id.session) // cannot fail: strings only
	if !rec.exists {
		txn.Create(schema.Node(id.node), []byte(id.mode))
	}
	if rec.hasSession {
		txn.Set(schema.Node(id.node, schema.NodeSession), session, rec.version)
	} else {
		txn.Create(schema.Node(id.node, schema.NodeSession), session)
	}
	for _, stale := range rec.live {
		txn.Delete(schema.Node(id.node, schema.NodeSession, stale), coord.AnyVersion)
	}
	if rec.holder && id.mode == model.ModeCoordinator {
		// The process is gone, but not what it held on this host: addresses live on for a
		// while. The role stays here, so that nobody else takes them meanwhile.
		txn.Delete(schema.PrimaryHolder, coord.AnyVersion)
		txn.CreateEphemeral(schema.PrimaryHolder, []byte(id.node))
	}
	txn.CreateEphemeral(schema.Node(id.node, schema.NodeSession, id.child), nil)

	put := func(key, value string, keep bool) {
		switch {
		case !rec.keys[key]:
			txn.Create(schema.Node(id.node, key), []byte(value))
		case !keep:
			txn.Set(schema.Node(id.node, key), []byte(value), coord.AnyVersion)
		}
	}
	const keep = true
	put(schema.NodeDaemonMode, string(id.mode), !keep)
	put(schema.NodeDaemonState, string(model.DaemonInit), !keep)
	put(schema.NodeRouterState, string(router), !keep)
	put(schema.NodeStaticData, id.static, !keep)
	put(schema.NodeIPMIHost, id.ipmi.Host, !keep)
	put(schema.NodeIPMIUser, id.ipmi.User, !keep)
	put(schema.NodeIPMIPassword, id.ipmi.Password, !keep)
	put(schema.NodeKeepalive, strconv.FormatInt(now.Unix(), 10), !keep)
	put(schema.NodeCondition, "", !keep)
	put(schema.NodeDomainState, string(model.DomainReady), keep)
	put(schema.NodeMemTotal, strconv.Itoa(id.mem.Total), keep)
	put(schema.NodeMemUsed, strconv.Itoa(id.mem.Used), keep)
	put(schema.NodeMemFree, strconv.Itoa(id.mem.Free), keep)
	put(schema.NodeCPULoad, cmp.Or(id.load, "0.0"), keep)
	for _, key := range []string{
		schema.NodeMemAlloc, schema.NodeVCPUAlloc, schema.NodeNetworksCount, schema.NodeDomainsCount,
	} {
		put(key, "0", keep)
	}
	for _, key := range []string{
		schema.NodeRunningDomains, schema.NodeVMs, schema.NodeDoorbell, schema.NodeFacts, schema.NodeFlush,
	} {
		put(key, "", keep)
	}
	return txn
}

// refuseAlien is the answer to a second daemon of one name.
func refuseAlien(node string, other model.NodeSession) error {
	return errs.Conflictf("another machine (machine id %q) is registered as node %s and its daemon is connected: two hosts must not have one name", other.MachineID, node)
}
