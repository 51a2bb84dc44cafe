package vmctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// mobility is what the running guest, not its next document, allows: the document on
// record may have been changed since the guest was started.
type mobility struct {
	local    bool     // it writes to something that other hosts do not have: it must not move at all
	blockers []string // why it cannot be moved live; never empty if it is local
	files    bool     // it writes to files, of which only we know that they are shared
}

func (m mobility) why() string { return strings.Join(m.blockers, "; ") }

// mobility asks the hypervisor what the guest runs with.
func (c *Controller) mobility(ctx context.Context, uuid string) (m mobility, err error) {
	xml, err := c.o.Hypervisor.XML(ctx, uuid)
	if err != nil {
		return m, err
	}
	spec, err := domxml.Parse(xml)
	if err != nil {
		return m, fmt.Errorf("the document of the running guest: %w", err)
	}
	shared, err := c.sharedDirectories(ctx)
	if err != nil {
		return m, err
	}
	m.blockers = spec.LiveBlockers(shared)
	if m.local = domxml.StorageClass(spec, shared) == domxml.Local; m.local && len(m.blockers) == 0 {
		m.blockers = []string{"it writes to files that are not shared between hosts"}
	}
	for _, i := range domxml.WritableImages(spec) {
		m.files = m.files || i.Kind != "rbd"
	}
	return m, nil
}

// sharedDirectories are those that the primary publishes for all hosts.
func (c *Controller) sharedDirectories(ctx context.Context) (dirs []string, err error) {
	_, s, ok := c.current()
	if !ok {
		return nil, errNoRecords
	}
	data, err := s.mirror.Get(ctx, schema.ConfigKey(schema.ConfigSharedDirectories))
	if errors.Is(err, coord.ErrNoNode) {
		return nil, nil
	}
	if err == nil && json.Unmarshal(data, &dirs) != nil {
		return nil, nil // unreadable: nothing is taken as shared
	}
	return dirs, err
}
