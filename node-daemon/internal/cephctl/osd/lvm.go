package osd

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// groupName is the volume group that is made for an OSD.
func groupName(uuid string) string { return "ceph-" + uuid }

// volumeName is the logical volume in it, as ceph-volume names it.
func volumeName(uuid string) string { return "osd-block-" + uuid }

func (l *Local) lvm(ctx context.Context, argv ...string) (run.Result, error) {
	return l.Run.Run(ctx, run.Command{Argv: argv})
}

// taggedVolumes are all logical volumes that bear the tags of an OSD.
func (l *Local) taggedVolumes(ctx context.Context) ([]volume, error) {
	out, err := l.lvm(ctx, "lvs", "--reportformat", "json", "--options", lvsColumns)
	if err != nil {
		return nil, fmt.Errorf("list logical volumes: %w", err)
	}
	return parseVolumes(out.Stdout)
}

// groups are the volume groups with the devices of each.
func (l *Local) groups(ctx context.Context) (map[string][]string, error) {
	out, err := l.lvm(ctx, "pvs", "--reportformat", "json", "--options", "pv_name,vg_name")
	if err != nil {
		return nil, fmt.Errorf("list volume groups: %w", err)
	}
	return parsePhysical(out.Stdout)
}

// groupOf is the volume group that a device belongs to, empty if to none.
func (l *Local) groupOf(ctx context.Context, device string) (string, error) {
	if !l.hasLVM() {
		return "", nil
	}
	groups, err := l.groups(ctx)
	if err != nil {
		return "", err
	}
	for group, devices := range groups {
		if slices.Contains(devices, device) {
			return group, nil
		}
	}
	return "", nil
}

// findVolume returns the volume that holds an OSD's data, nil if there is none.
func (l *Local) findVolume(ctx context.Context, uuid string) (*volume, error) {
	if !l.hasLVM() {
		return nil, nil
	}
	all, err := l.taggedVolumes(ctx)
	if err != nil {
		return nil, err
	}
	for i, v := range all {
		if strings.EqualFold(v.tags["osd_fsid"], uuid) && v.tags["type"] == "block" {
			return &all[i], nil
		}
	}
	return nil, nil
}

// makeVolume makes a logical volume of a whole device and returns its path. ceph-volume
// knows it by its tags.
func (l *Local) makeVolume(ctx context.Context, device string, o Identity) (string, error) {
	v, err := l.findVolume(ctx, o.UUID)
	if err != nil {
		return "", err
	}
	if v != nil && v.tags["block_uuid"] == "" {
		return v.path, l.tagUUID(ctx, v.path)
	}
	if v != nil {
		return v.path, nil
	}
	groups, err := l.groups(ctx)
	if err != nil {
		return "", err
	}
	group := groupName(o.UUID)
	if len(groups[group]) == 0 {
		if _, err := l.lvm(ctx, "vgcreate", "--yes", "--quiet", group, device); err != nil {
			return "", fmt.Errorf("make a volume group of %s: %w", device, err)
		}
	}
	path := filepath.Join("/dev", group, volumeName(o.UUID))
	tags, err := l.tags(ctx, path, o)
	if err != nil {
		return "", err
	}
	argv := []string{"lvcreate", "--yes", "--quiet", "--extents", "100%FREE", "--name", volumeName(o.UUID)}
	for _, tag := range tags {
		argv = append(argv, "--addtag", "ceph."+tag)
	}
	if _, err := l.lvm(ctx, append(argv, group)...); err != nil {
		return "", fmt.Errorf("make a logical volume on %s: %w", device, err)
	}
	return path, l.tagUUID(ctx, path)
}

// tags are those that ceph-volume asks for when it activates and zaps.
func (l *Local) tags(ctx context.Context, path string, o Identity) ([]string, error) {
	argv := []string{"ceph-conf"}
	if l.Conf != "" {
		argv = append(argv, "-c", l.Conf)
	}
	out, err := l.Run.Run(ctx, run.Command{Argv: append(argv, "--lookup", "fsid")})
	if err != nil {
		return nil, fmt.Errorf("read the cluster's fsid from Ceph's configuration: %w", err)
	}
	fsid := strings.TrimSpace(string(out.Stdout))
	return []string{
		"osd_id=" + strconv.Itoa(o.ID), "osd_fsid=" + o.UUID, "type=block", "block_device=" + path,
		"cluster_fsid=" + fsid, "cluster_name=ceph", "cephx_lockbox_secret=", "crush_device_class=", "encrypted=0", "osdspec_affinity=", "vdo=0",
	}, nil
}

// tagUUID adds LVM's own uuid of a volume, which is known only when it is made.
func (l *Local) tagUUID(ctx context.Context, path string) error {
	out, err := l.lvm(ctx, "lvs", "--noheadings", "--options", "lv_uuid", path)
	if err == nil {
		_, err = l.lvm(ctx, "lvchange", "--addtag", "ceph.block_uuid="+strings.TrimSpace(string(out.Stdout)), path)
	}
	if err != nil {
		return fmt.Errorf("tag the logical volume %s: %w", path, err)
	}
	return nil
}

// removeVolumes removes all volumes of an OSD (data, database) and the groups that are
// empty then, and erases their devices; done is false if it has none.
func (l *Local) removeVolumes(ctx context.Context, uuid string) (done bool, err error) {
	all, err := l.taggedVolumes(ctx)
	if err != nil {
		return false, err
	}
	touched := map[string]bool{}
	for _, v := range all {
		if !strings.EqualFold(v.tags["osd_fsid"], uuid) {
			continue
		}
		if v.tags["encrypted"] == "1" {
			return false, errs.Conflictf("logical volume %s is encrypted: close and remove it by hand", v.path)
		}
		if _, err := l.lvm(ctx, "lvremove", "--yes", "--quiet", v.path); err != nil {
			return false, fmt.Errorf("remove the logical volume %s: %w", v.path, err)
		}
		touched[v.group] = true
	}
	groups, err := l.groups(ctx)
	if err != nil {
		return false, err
	}
	if len(groups[groupName(uuid)]) > 0 {
		touched[groupName(uuid)] = true
	}
	for group := range touched {
		if err := l.removeGroup(ctx, group, groups[group]); err != nil {
			return false, err
		}
	}
	return len(touched) > 0, nil
}

// removeGroup removes a volume group without volumes and erases its devices.
func (l *Local) removeGroup(ctx context.Context, group string, devices []string) error {
	out, err := l.lvm(ctx, "vgs", "--noheadings", "--options", "lv_count", group)
	if err != nil {
		return fmt.Errorf("look at the volume group %s: %w", group, err)
	}
	if strings.TrimSpace(string(out.Stdout)) != "0" {
		return nil // others have volumes there
	}
	if _, err := l.lvm(ctx, "vgremove", "--yes", "--quiet", group); err != nil {
		return fmt.Errorf("remove the volume group %s: %w", group, err)
	}
	if _, err := l.lvm(ctx, append([]string{"pvremove", "--yes", "--quiet"}, devices...)...); err != nil {
		return fmt.Errorf("remove LVM's label from %s: %w", strings.Join(devices, ", "), err)
	}
	for _, d := range devices {
		if err := l.erase(ctx, d); err != nil {
			return err
		}
	}
	return nil
}
