package primary

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// Settings are what the primary publishes of its configuration for everybody.
type Settings struct {
	TargetSelector    string
	SharedDirectories []string
}

// values returns the znodes and their data.
func (s Settings) values() map[string][]byte {
	directories := s.SharedDirectories
	if directories == nil {
		directories = []string{}
	}
	list, _ := json.Marshal(directories) // cannot fail: strings only
	return map[string][]byte{
		schema.ConfigKey(schema.ConfigTargetSelector):    []byte(s.TargetSelector),
		schema.ConfigKey(schema.ConfigSharedDirectories): list,
	}
}

// Publisher publishes the settings once per take-over. Its Run is for a [Duty].
type Publisher struct {
	Session  Session
	Settings Settings
	Logger   *slog.Logger
}

// Run writes what is missing or different, trying again until it has succeeded, and
// waits for ctx to end.
func (p *Publisher) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := p.publish(ctx)
		if err == nil {
			<-ctx.Done()
			break
		}
		if ctx.Err() == nil {
			p.Logger.Warn("the settings of the cluster are not published yet", "err", err)
		}
		pause(ctx, pulse)
	}
	return nil
}

func (p *Publisher) publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var txn coord.Txn
	p.Session.Check(&txn)
	txn.Check(schema.PrimaryHolder, coord.AnyVersion)
	changes := len(txn.Ops)
	for path, want := range p.Settings.values() {
		have, st, err := p.Session.Client().Get(ctx, path)
		switch {
		case errors.Is(err, coord.ErrNoNode):
			txn.Create(path, want)
		case err != nil:
			return err
		case string(have) != string(want):
			txn.Set(path, want, st.Version)
		}
	}
	if len(txn.Ops) == changes {
		return nil
	}
	if _, err := p.Session.Client().Commit(ctx, txn); err != nil {
		return fmt.Errorf("publish settings: %w", err)
	}
	return nil
}
