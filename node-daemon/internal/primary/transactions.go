package primary

import (
	"context"
	"errors"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

func (c *Candidate) routerState() string {
	return schema.Node(c.session.Node(), schema.NodeRouterState)
}

// contention builds the transaction that makes this session the holder: it fails if
// there is one, if the wish has changed, or if the session is not the node's. It also
// corrects what a former primary that is gone has left behind about itself.
func (c *Candidate) contention(ctx context.Context, p picture) (coord.Txn, error) {
	var txn coord.Txn
	c.session.Check(&txn)
	if p.wishThere {
		txn.Set(schema.Primary, []byte(p.Self), p.wishVersion)
	} else {
		txn.Create(schema.Primary, []byte(p.Self))
	}
	txn.CreateEphemeral(schema.PrimaryHolder, []byte(p.Self))
	txn.Set(c.routerState(), []byte(model.RouterTakeover), coord.AnyVersion)
	for _, name := range c.observer.coordinators {
		if name == p.Self {
			continue
		}
		path := schema.Node(name, schema.NodeRouterState)
		data, st, err := c.session.Client().Get(ctx, path)
		if errors.Is(err, coord.ErrNoNode) {
			continue
		}
		if err != nil {
			return txn, err
		}
		switch model.RouterState(data) {
		case model.RouterPrimary, model.RouterTakeover, model.RouterRelinquish:
			txn.Set(path, []byte(model.RouterSecondary), st.Version)
		}
	}
	return txn, nil
}

// setRouterState writes the own coordinator state while this session is the holder.
func (c *Candidate) setRouterState(ctx context.Context, s model.RouterState) error {
	var txn coord.Txn
	c.session.Check(&txn)
	txn.Check(schema.PrimaryHolder, coord.AnyVersion)
	txn.Set(c.routerState(), []byte(s), coord.AnyVersion)
	_, err := c.session.Client().Commit(ctx, txn)
	return err
}

// reassertion writes the own name over a wish that cannot be met.
func (c *Candidate) reassertion(p picture) coord.Txn {
	var txn coord.Txn
	c.session.Check(&txn)
	txn.Check(schema.PrimaryHolder, coord.AnyVersion)
	txn.Set(schema.Primary, []byte(p.Self), p.wishVersion)
	return txn
}

// departure removes the holder. A wish for this very node becomes none, so that
// another one takes over; any other wish stands.
func (c *Candidate) departure(p picture) coord.Txn {
	var txn coord.Txn
	c.session.Check(&txn)
	txn.Delete(schema.PrimaryHolder, coord.AnyVersion)
	txn.Set(c.routerState(), []byte(model.RouterSecondary), coord.AnyVersion)
	if p.Wish == p.Self {
		txn.Set(schema.Primary, []byte(schema.NoPrimary), p.wishVersion)
	}
	return txn
}
