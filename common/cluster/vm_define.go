package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// DefineVM makes a new VM from libvirt XML.
type DefineVM struct{ XML, Node, Selector string }

// DefineVM checks the document, chooses a node and commits the VM in state stop.
func (c *Cluster) DefineVM(ctx context.Context, r DefineVM) (Answer, error) {
	xml, spec, err := c.document(r.XML)
	if err != nil {
		return Answer{}, err
	}
	release, err := c.defineAlone(ctx)
	if err != nil {
		return Answer{}, fmt.Errorf("VM %q was not defined: %w", spec.Name, err)
	}
	defer release()
	for range attempts {
		needs, err := c.resources(ctx, spec) // before the look at everything else
		if err != nil {
			return Answer{}, err
		}
		since, err := c.allDefined(ctx)
		if err != nil {
			return Answer{}, err
		}
		answer, err := c.change(ctx, false, func(s *view.Snapshot) (plan, error) { return define(s, r, xml, spec, needs, since) })
		var collided *coord.TxnError
		if !errors.As(err, &collided) {
			return answer, err
		}
	}
	return Answer{}, errs.Conflictf("VM %q was not defined: others are defined faster than this call", spec.Name)
}

// allDefined returns a version of the root of the VMs with which the view has all that
// were defined up to it. The version in a snapshot does not do: the view may show it
// before it has read the VM that goes with it.
func (c *Cluster) allDefined(ctx context.Context) (version int32, err error) {
	if _, stale := c.o.View.Stale(); stale {
		return 0, errs.Unavailablef("no connection to ZooKeeper, nothing was changed")
	}
	c.o.View.Read(func(s *view.Snapshot) { version = s.DomainsVersion() })
	ctx, cancel := context.WithTimeout(ctx, c.o.CommitTimeout)
	defer cancel()
	if err := c.o.View.Sync(ctx); err != nil {
		return 0, errs.Unavailablef("the cluster cannot be read, nothing was changed: %w", err)
	}
	return version, nil
}

func define(s *view.Snapshot, r DefineVM, xml string, spec *domxml.Spec, needs resources, since int32) (plan, error) {
	if s.NameTaken(spec.Name) {
		return plan{}, errs.Conflictf("a VM named %q exists already", spec.Name)
	}
	if vm, ok := s.VM(spec.UUID); ok {
		return plan{}, errs.Conflictf("the UUID %s belongs to VM %q", spec.UUID, vm.Name)
	}
	if err := imagesFree(s, spec); err != nil {
		return plan{}, err
	}
	if err := usable(s, spec); err != nil {
		return plan{}, err
	}
	choice, err := target(s, r.Node, r.Selector, "", spec)
	if err != nil {
		return plan{}, err
	}
	p := plan{about: schema.VM(spec.UUID), missing: needs.missing, once: true}
	p.txn.Set(schema.Domains, nil, since)
	p.txn.Append(needs.checks)
	create(&p.txn, spec, xml, choice.Node)
	index(&p.txn, s, choice.Node, spec.UUID)
	p.message = fmt.Sprintf("VM %q (%s) is defined on %s (%s)%s", spec.Name, spec.UUID, choice.Node, choice.Why, needs.remark)
	return p, nil
}

// create writes the keys of a new VM, those of the old layout and its identity.
func create(t *coord.Txn, spec *domxml.Spec, xml, node string) {
	key := func(name, value string) { t.Create(schema.VM(spec.UUID, name), []byte(value)) }
	t.Create(schema.VM(spec.UUID), []byte(spec.Name))
	key(schema.VMGenPrefix+model.NewID(), "")
	key(schema.VMState, string(model.VMStop))
	key(schema.VMNode, node)
	key(schema.VMLastNode, "")
	key(schema.VMFailedReason, "")
	key(schema.VMConsoleLog, "")
	key(schema.VMRBDList, strings.Join(domxml.RBDList(spec), ","))
	key(schema.VMXML, xml)
}

// document checks a VM's XML; a missing UUID is generated.
func (c *Cluster) document(xml string) (string, *domxml.Spec, error) {
	spec, err := domxml.Parse(xml)
	if err != nil {
		return "", nil, err
	}
	if err := model.CheckVMName(spec.Name); err != nil {
		return "", nil, err
	}
	if err := c.o.Policy.Check(xml); err != nil {
		return "", nil, errs.New(errs.Invalid, "%w", err)
	}
	if spec.UUID != "" {
		return xml, spec, nil
	}
	if xml, err = domxml.WithUUID(xml, model.NewUUID()); err != nil {
		return "", nil, err
	}
	spec, err = domxml.Parse(xml)
	return xml, spec, err
}

// resources are what a document needs of the cluster beside a node.
type resources struct {
	checks  coord.Txn
	missing map[string]string
	remark  string
	network bool // it needs a network of ours
	volumes bool // it needs volumes
}

// resources looks up the networks and volumes a document names. Bridges that are not
// ours and files are the operator's own affair; they are named in the answer.
func (c *Cluster) resources(ctx context.Context, spec *domxml.Spec) (resources, error) {
	r := resources{missing: map[string]string{}}
	var local []string
	for _, nic := range spec.Networks {
		vni, ours := strings.CutPrefix(nic.Source, model.BridgePrefix)
		if !ours {
			if nic.Type == "bridge" {
				local = append(local, "bridge "+quote(nic.Source))
			}
			continue
		}
		r.network = true
		r.need(schema.Networks+"/"+vni, fmt.Sprintf("network %q does not exist", model.Clip(vni)), isNumber(vni))
	}
	for _, d := range spec.Disks {
		switch d.Type {
		case "rbd":
			pool, volume, ok := strings.Cut(d.Name, "/")
			ok = ok && plainName(pool) && plainName(volume)
			missing := fmt.Sprintf("volume %q does not exist", model.Clip(d.Name))
			r.need(schema.PoolVolumes(pool), missing, ok)
			r.need(schema.Volume(pool, volume), missing, ok)
			r.volumes = true
		case "file", "block":
			if d.Name != "" {
				local = append(local, d.Type+" "+quote(d.Name))
			}
		}
	}
	if len(local) > 0 {
		r.remark = "; taken as present on its hosts: " + strings.Join(local, ", ")
	}
	return r, c.present(ctx, r)
}

func (r *resources) need(path, missing string, valid bool) {
	r.missing[path] = missing
	if valid {
		r.checks.Check(path, coord.AnyVersion)
	} else {
		r.checks.Check("", coord.AnyVersion) // refused by present
		r.missing[""] = missing
	}
}

// present finds out whether all is there, and of volumes the version that tells whether they
// were taken away since.
func (c *Cluster) present(ctx context.Context, r resources) error {
	for i, op := range r.checks.Ops {
		if op.Path == "" {
			return errs.Invalidf("%s", r.missing[""])
		}
		version, err := c.o.View.Version(ctx, op.Path)
		switch {
		case errors.Is(err, coord.ErrNoNode):
			return errs.Conflictf("%s", r.missing[op.Path])
		case err != nil:
			return err
		case strings.HasPrefix(op.Path, schema.CephVolumes+"/"):
			r.checks.Ops[i].Version = version
		}
	}
	return nil
}

func isNumber(s string) bool {
	return s != "" && len(s) <= 8 && strings.Trim(s, "0123456789") == ""
}

// plainName reports whether a name is one path element and nothing special.
func plainName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r < ' ' || r == 0x7f })
}

// imagesFree refuses a document with a writable image that another VM names.
func imagesFree(s *view.Snapshot, spec *domxml.Spec) error {
	mine := map[string]domxml.Image{}
	for _, i := range domxml.WritableImages(spec) {
		mine[i.Kind+":"+i.Name] = i
	}
	if len(mine) == 0 {
		return nil
	}
	for _, vm := range s.VMs() {
		if vm.UUID == spec.UUID {
			continue
		}
		other, err := s.Spec(vm)
		if err != nil {
			continue // its own document is unreadable; it cannot be started either
		}
		for _, i := range domxml.WritableImages(other) {
			if my, both := mine[i.Kind+":"+i.Name]; both && !(my.Shareable && i.Shareable) {
				return errs.Conflictf("the image %q belongs to VM %q; both have to say <shareable/> to share it", model.Clip(i.Name), vm.Name)
			}
		}
	}
	return nil
}

// ModifyVM replaces the XML of a VM.
type ModifyVM struct {
	VM, XML string
	Restart bool
}

// ModifyVM checks the document and commits it; it takes effect at the next start.
func (c *Cluster) ModifyVM(ctx context.Context, r ModifyVM) (Answer, error) {
	spec, err := domxml.Parse(r.XML)
	if err != nil {
		return Answer{}, err
	}
	if err := c.o.Policy.Check(r.XML); err != nil {
		return Answer{}, errs.New(errs.Invalid, "%w", err)
	}
	for n := range attempts {
		needs, err := c.resources(ctx, spec) // before the look at everything else
		if err != nil {
			return Answer{}, err
		}
		if needs.volumes || n > 0 {
			if _, err := c.allDefined(ctx); err != nil {
				return Answer{}, err
			}
		}
		answer, err := c.change(ctx, false, func(s *view.Snapshot) (plan, error) { return modify(s, r, spec, needs) })
		var collided *coord.TxnError
		if !errors.As(err, &collided) {
			return answer, err
		}
	}
	return Answer{}, errs.Conflictf("VM %q was not changed: it, or what it names, is changed by others all the time", r.VM)
}

func modify(s *view.Snapshot, r ModifyVM, spec *domxml.Spec, needs resources) (plan, error) {
	vm, err := s.FindVM(r.VM)
	if err != nil {
		return plan{}, err
	}
	xml := r.XML
	if spec.Name != vm.Name {
		return plan{}, errs.Conflictf("the document is named %q, the VM %q: a VM cannot be renamed this way", model.Clip(spec.Name), vm.Name)
	}
	if spec.UUID == "" {
		if xml, err = domxml.WithUUID(xml, vm.UUID); err != nil {
			return plan{}, err
		}
	} else if spec.UUID != vm.UUID {
		return plan{}, errs.Conflictf("the document has the UUID %s, the VM %s: it cannot be changed", spec.UUID, vm.UUID)
	}
	own := *spec
	own.UUID = vm.UUID
	if err := imagesFree(s, &own); err != nil {
		return plan{}, err
	}
	if err := usable(s, spec); err != nil {
		return plan{}, err
	}
	p := plan{about: schema.VM(vm.UUID), missing: needs.missing, once: true}
	if needs.network || needs.volumes { // whoever removes one of them has looked at all documents
		p.txn.Set(schema.Domains, nil, coord.AnyVersion)
	}
	p.txn.Append(needs.checks)
	p.txn.Set(schema.VM(vm.UUID, schema.VMXML), []byte(xml), vm.Versions.XML)
	p.txn.Set(schema.VM(vm.UUID, schema.VMRBDList), []byte(strings.Join(domxml.RBDList(spec), ",")), vm.Versions.RBDList)
	same(&p.txn, vm)
	effect := "it takes effect at the next start"
	switch {
	case r.Restart && vm.State == model.VMStart:
		p.txn.Set(schema.VM(vm.UUID, schema.VMState), []byte(model.VMRestart), vm.Versions.State)
		effect = "the VM restarts with it"
	case r.Restart:
		effect = fmt.Sprintf("the VM is in state %s and was not started", vm.State)
	}
	ring(&p.txn, s, vm.Node)
	p.message = fmt.Sprintf("VM %q has its new configuration: %s%s", vm.Name, effect, needs.remark)
	return p, nil
}
