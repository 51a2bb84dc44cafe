package cephctl

import (
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// The beginnings of replies in the slot: the whole request follows.
const (
	slotSuccess = "success-"
	slotFailure = "failure-"
)

// isRequest reports whether a text in the slot asks for something: it is neither empty
// nor a reply.
func isRequest(text string) bool {
	text = schema.Text(text)
	return text != "" && !strings.HasPrefix(text, slotSuccess) && !strings.HasPrefix(text, slotFailure)
}

// parseSlot reads a request of an old client, "volume_add vms,disk0,1073741824B": a verb
// and its arguments, which cannot hold white space and commas. What is no request of this
// release is errs.Invalid.
func parseSlot(text string) (command.Args, error) {
	words := strings.Fields(text)
	if len(words) != 2 {
		return nil, errs.Invalidf("%q is not a command and its arguments", model.Clip(text))
	}
	verb, args := command.Verb(words[0]), strings.Split(words[1], ",")
	parse, known := slotVerbs[verb]
	if !known {
		return nil, errs.Invalidf("command %q is unknown to this release", model.Clip(words[0]))
	}
	if len(args) != parse.args {
		return nil, errs.Invalidf("%s has %d arguments, %d are needed: %q", verb, len(args), parse.args, model.Clip(words[1]))
	}
	a, err := parse.read(args)
	if err != nil {
		return nil, err
	}
	return a, a.Validate()
}

// slotVerb is how a verb is written in the slot.
type slotVerb struct {
	args int
	read func(a []string) (command.Args, error)
}

var slotVerbs = map[command.Verb]slotVerb{
	command.VerbOSDAdd:     {3, slotOSDAdd},
	command.VerbOSDRemove:  {1, osdArg(func(id int) command.Args { return command.OSDRemove{OSD: id} })},
	command.VerbOSDIn:      {1, osdArg(func(id int) command.Args { return command.OSDIn{OSD: id} })},
	command.VerbOSDOut:     {1, osdArg(func(id int) command.Args { return command.OSDOut{OSD: id} })},
	command.VerbOSDSet:     {1, func(a []string) (command.Args, error) { return command.OSDSet{Flag: a[0]}, nil }},
	command.VerbOSDUnset:   {1, func(a []string) (command.Args, error) { return command.OSDUnset{Flag: a[0]}, nil }},
	command.VerbPoolAdd:    {2, slotPoolAdd},
	command.VerbPoolRemove: {1, func(a []string) (command.Args, error) { return command.PoolRemove{Pool: a[0]}, nil }},
	// Old clients knew no limit but Ceph's.
	command.VerbVolumeAdd: {3, sizeArg(func(a []string, s model.Size) command.Args {
		return command.VolumeAdd{Pool: a[0], Volume: a[1], Size: s, Force: true}
	})},
	command.VerbVolumeResize: {3, sizeArg(func(a []string, s model.Size) command.Args {
		return command.VolumeResize{Pool: a[0], Volume: a[1], Size: s, Force: true}
	})},
	command.VerbVolumeRename: {3, func(a []string) (command.Args, error) {
		return command.VolumeRename{Pool: a[0], Volume: a[1], Name: a[2]}, nil
	}},
	command.VerbVolumeRemove: {2, func(a []string) (command.Args, error) {
		return command.VolumeRemove{Pool: a[0], Volume: a[1]}, nil
	}},
	command.VerbSnapshotAdd: {3, func(a []string) (command.Args, error) {
		return command.SnapshotAdd{Pool: a[0], Volume: a[1], Snapshot: a[2]}, nil
	}},
	command.VerbSnapshotRemove: {3, func(a []string) (command.Args, error) {
		return command.SnapshotRemove{Pool: a[0], Volume: a[1], Snapshot: a[2]}, nil
	}},
}

func osdArg(make func(id int) command.Args) func([]string) (command.Args, error) {
	return func(a []string) (command.Args, error) {
		id, err := model.ParseOSDID(a[0])
		if err != nil {
			return nil, err
		}
		return make(id), nil
	}
}

func sizeArg(make func(a []string, s model.Size) command.Args) func([]string) (command.Args, error) {
	return func(a []string) (command.Args, error) {
		s, err := model.ParseSize(a[2])
		if err != nil {
			return nil, err
		}
		return make(a, s), nil
	}
}

func slotOSDAdd(a []string) (command.Args, error) {
	weight, err := model.ParseWeight(a[2])
	if err != nil {
		return nil, err
	}
	return command.OSDAdd{Node: a[0], Device: a[1], Weight: weight, UUID: model.NewUUID()}, nil
}

func slotPoolAdd(a []string) (command.Args, error) {
	pgs, err := model.ParseSize(a[1]) // a number without a unit
	if err != nil || strings.Trim(a[1], "0123456789") != "" || pgs > 1<<20 {
		return nil, errs.Invalidf("%q is not a number of placement groups", model.Clip(a[1]))
	}
	return command.PoolAdd{Pool: a[0], PGs: int(pgs)}, nil
}
