package primary

import (
	"context"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// Session is what a candidate needs of the node's session.
type Session interface {
	Client() coord.Client
	Hub() *watch.Hub
	Check(t *coord.Txn)
	Node() string
	RoleLeft() time.Duration
	Lost() <-chan struct{}
}

// picture is an observation with the versions a transaction needs.
type picture struct {
	Observation
	wishThere   bool
	wishVersion int32
}

// observer reads what the election is about, leaving watches.
type observer struct {
	session      Session
	coordinators []string
	set          *watch.Set

	openWish  string    // the wish that stands without a holder
	openSince time.Time // since when, as seen from here
	stoodDown time.Time // zero: never
}

func (o *observer) observe(ctx context.Context) (p picture, err error) {
	p.Self, p.Wish, p.Others = o.session.Node(), schema.NoPrimary, map[string]bool{}
	data, st, there, err := o.set.Value(ctx, schema.Primary)
	if err != nil {
		return p, err
	}
	if p.wishThere, p.wishVersion = there, st.Version; schema.Text(string(data)) != "" {
		p.Wish = string(data)
	}
	holder, st, there, err := o.set.Value(ctx, schema.PrimaryHolder)
	if err != nil {
		return p, err
	}
	if there {
		p.Holder, p.Mine = string(holder), st.Owner == o.session.Client().SessionID()
	}
	for _, name := range o.coordinators {
		running, err := o.running(ctx, name)
		if err != nil {
			return p, err
		}
		if name == p.Self {
			p.Running = running
		} else if running {
			p.Others[name] = true
		}
	}
	o.ages(&p.Observation, time.Now())
	return p, nil
}

// running reports whether a node's daemon is connected and in normal operation.
func (o *observer) running(ctx context.Context, node string) (bool, error) {
	session := schema.Node(node, schema.NodeSession)
	if _, there, err := o.set.Exists(ctx, session); err != nil || !there {
		return false, err
	}
	children, err := o.set.Children(ctx, session)
	if err != nil || len(children) == 0 {
		return false, err
	}
	state, _, _, err := o.set.Value(ctx, schema.Node(node, schema.NodeDaemonState))
	return model.DaemonState(state) == model.DaemonRun, err
}

// ages fills in the times, which are counted here and compared with nobody's clock.
func (o *observer) ages(p *Observation, now time.Time) {
	if p.Holder != "" {
		o.openWish, o.openSince = "", time.Time{}
	} else if o.openSince.IsZero() || o.openWish != p.Wish {
		o.openWish, o.openSince = p.Wish, now
	}
	if !o.openSince.IsZero() {
		p.WishAge = now.Sub(o.openSince)
	}
	p.StoodDown = -1
	if !o.stoodDown.IsZero() {
		p.StoodDown = now.Sub(o.stoodDown)
	}
}
