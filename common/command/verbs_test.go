package command

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

const osdUUID = "11111111-2222-4333-8444-555555555555"

// samples has valid arguments of every verb, with their JSON.
var samples = []struct {
	args Args
	json string
}{
	{OSDAdd{"hv1", "/dev/sdb", 1, osdUUID}, `{"node":"hv1","device":"/dev/sdb","weight":1,"uuid":"` + osdUUID + `"}`},
	{OSDRemove{3, true}, `{"osd":3,"force":true}`},
	{OSDIn{3}, `{"osd":3}`},
	{OSDOut{3}, `{"osd":3}`},
	{OSDSet{"noout"}, `{"flag":"noout"}`},
	{OSDUnset{"noout"}, `{"flag":"noout"}`},
	{PoolAdd{"vms", 64}, `{"pool":"vms","pgs":64}`},
	{PoolRemove{"vms"}, `{"pool":"vms"}`},
	{VolumeAdd{"vms", "web1", 1 << 30, false}, `{"pool":"vms","volume":"web1","size":1073741824,"force":false}`},
	{VolumeResize{"vms", "web1", 1 << 31, true, true}, `{"pool":"vms","volume":"web1","size":2147483648,"shrink":true,"force":true}`},
	{VolumeRename{"vms", "web1", "web2"}, `{"pool":"vms","volume":"web1","name":"web2"}`},
	{VolumeRemove{"vms", "web1"}, `{"pool":"vms","volume":"web1"}`},
	{SnapshotAdd{"vms", "web1", "s1"}, `{"pool":"vms","volume":"web1","snapshot":"s1"}`},
	{SnapshotRemove{"vms", "web1", "s1"}, `{"pool":"vms","volume":"web1","snapshot":"s1"}`},
}

func TestArgumentsOfEveryVerbHaveStableKeys(t *testing.T) {
	if len(samples) != len(parsers) {
		t.Fatalf("%d samples of %d verbs", len(samples), len(parsers))
	}
	for _, s := range samples {
		data, err := json.Marshal(s.args)
		if err != nil || string(data) != s.json {
			t.Errorf("%s: %s, %v; want %s", s.args.Verb(), data, err, s.json)
		}
		got, err := ParseArgs(&Command{Verb: string(s.args.Verb()), Args: []byte(s.json)})
		if d := cmp.Diff(s.args, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", s.args.Verb(), err, d)
		}
		if len(s.args.Keys()) == 0 {
			t.Errorf("%s works on nothing", s.args.Verb())
		}
	}
}

func TestBadArgumentsOfEveryVerbAreInvalid(t *testing.T) {
	for _, a := range []Args{
		OSDAdd{"", "/dev/sdb", 1, osdUUID}, OSDAdd{"hv1", "sdb", 1, osdUUID}, OSDAdd{"hv1", "/dev/sdb", 0, osdUUID}, OSDAdd{"hv1", "/dev/sdb", math.NaN(), osdUUID},
		OSDAdd{"hv1", "/dev/sdb", 1, ""}, OSDAdd{"hv1", "/dev/sdb", 1, "{" + osdUUID + "}"}, OSDRemove{-1, false}, OSDIn{-1}, OSDOut{-1}, OSDSet{"x"}, OSDUnset{"sortbitwise"},
		PoolAdd{".a", 1}, PoolAdd{"a", 0}, PoolRemove{"a/b"}, VolumeAdd{"", "v", 1, false}, VolumeAdd{"p", "a,b", 1, false}, VolumeAdd{"p", "v", 0, false},
		VolumeAdd{"p", "v", 1 << 63, false}, VolumeResize{"p", "", 1, false, false}, VolumeResize{"p", "v", 0, true, true}, VolumeRename{"p", "v", "a@b"}, VolumeRename{"p", "v/", "w"},
		VolumeRemove{"p", ".."}, VolumeRemove{"", "v"}, SnapshotAdd{"p", "v", ""}, SnapshotAdd{"p", "", "s"}, SnapshotRemove{"p", "v", "a/b"},
	} {
		if err := a.Validate(); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s %+v: %v", a.Verb(), a, err)
		}
	}
	for verb, args := range map[string]string{
		"volume_add": `{"pool":"p","volume":"v","size":1,"sizes":2}`, "osd_in": `{"osd":"3"}`, "pool_remove": `[]`, "nothing": `{}`, "osd_out": `{"osd":-5}`,
	} {
		if a, err := ParseArgs(&Command{Verb: verb, Args: []byte(args)}); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s %s: %+v, %v", verb, args, a, err)
		}
	}
}

// What others made may have names that ours must not have.
func TestWhatExistsCanBeRemovedWhateverItsName(t *testing.T) {
	for _, a := range []Args{PoolRemove{".rgw.root"}, VolumeRemove{"vms", "a,b@c"}, SnapshotRemove{"vms", "v", " s "}, VolumeRename{"vms", ".v", "v"}} {
		if err := a.Validate(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

func TestTheSameRequestHasTheSameNameAndAKeyItsOwn(t *testing.T) {
	record := func(r Request) *Command {
		t.Helper()
		c, data, err := r.command()
		if err != nil {
			t.Fatal(err)
		}
		if len(data) == 0 || c.Nonce == "" {
			t.Fatalf("%+v", c)
		}
		return c
	}
	volume := VolumeAdd{"vms", "web1", 1 << 30, false}
	a, b := record(Request{Args: volume, RequestID: "1", Node: "hv1"}), record(Request{Args: volume, RequestID: "2", Node: "hv2", Any: true})
	if a.ID != b.ID || a.Nonce == b.Nonce || a.ID[:2] != "r-" {
		t.Errorf("%s and %s", a.ID, b.ID)
	}
	volume.Size++
	if c := record(Request{Args: volume}); c.ID == a.ID || !c.Any {
		t.Errorf("another size: %+v", c)
	}
	keyed := record(Request{Args: volume, Key: "x"})
	if keyed.ID[:2] != "k-" || keyed.ID != record(Request{Args: PoolRemove{"vms"}, Key: "x"}).ID || keyed.ID == record(Request{Args: volume, Key: "y"}).ID {
		t.Errorf("with a key: %s", keyed.ID)
	}
	other := "99999999-2222-4333-8444-555555555555"
	if record(Request{Args: OSDAdd{"hv1", "/dev/sdb", 1, osdUUID}}).ID != record(Request{Args: OSDAdd{"hv1", "/dev/sdb", 1, other}}).ID {
		t.Error("the UUID that is drawn for an OSD makes it another request")
	}
}

func FuzzCommandsAreReadAsTheyWereWritten(f *testing.F) {
	f.Add("vms", "web1", uint64(1), "key", "hv1")
	f.Add("a b", "ä", uint64(1<<63-1), "", "")
	f.Add("\x00", "..", uint64(0), "k\n", "HV1")
	f.Fuzz(func(t *testing.T, pool, volume string, size uint64, key, node string) {
		want, data, err := Request{Args: VolumeAdd{pool, volume, model.Size(size), true}, Key: key, Node: node}.command()
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatal(err)
			}
			return
		}
		tree := oneCommand{id: want.ID, nonce: want.Nonce, data: string(data)}
		got, ok, err := schema.DecodeCommand(tree, want.ID)
		if err != nil || !ok {
			t.Fatalf("%s: %v, %v", data, ok, err)
		}
		args, err := ParseArgs(got)
		if d := cmp.Diff(VolumeAdd{pool, volume, model.Size(size), true}, args); d != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, d)
		}
		if got.Identity != want.Identity || got.Nonce != want.Nonce {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

// oneCommand is a tree with nothing but a command that nobody has claimed.
type oneCommand struct{ id, nonce, data string }

func (o oneCommand) Data(path string) (string, int32, bool) {
	return o.data, 0, path == schema.Command(o.id)
}
func (o oneCommand) Children(string) []string { return []string{schema.CommandGenPrefix + o.nonce} }
