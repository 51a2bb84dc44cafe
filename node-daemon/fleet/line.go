package fleet

import (
	"context"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// line is a node's way to ZooKeeper. Once it is cut nothing gets through again.
type line struct {
	mu    sync.Mutex
	isCut bool
	open  []coord.Client
}

// dial is a coord.Dialer.
func (l *line) dial(ctx context.Context, o coord.Options) (coord.Client, error) {
	l.mu.Lock()
	refused := l.isCut
	l.mu.Unlock()
	if refused {
		return nil, errs.Unavailablef("the line is cut")
	}
	c, err := zk.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		c.Close()
		return nil, errs.Unavailablef("the line is cut")
	}
	l.open = append(l.open, c)
	return c, nil
}

func (l *line) cut() {
	l.mu.Lock()
	l.isCut = true
	open := l.open
	l.open = nil
	l.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}
