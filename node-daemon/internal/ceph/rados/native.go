package rados

/*
#cgo LDFLAGS: -lrados -lrbd
#include <errno.h>
#include <stdlib.h>
#include <rados/librados.h>
#include <rbd/librbd.h>

extern int pvcProgress(uint64_t, uint64_t, void *);

static inline int pvc_remove(rados_ioctx_t io, const char *name, uintptr_t handle) {
	return rbd_remove_with_progress(io, name, pvcProgress, (void *)handle);
}

static inline int pvc_trash_remove(rados_ioctx_t io, const char *id, uintptr_t handle) {
	return rbd_trash_remove_with_progress(io, id, true, pvcProgress, (void *)handle);
}
*/
import "C"

import (
	"runtime/cgo"
	"syscall"
	"unsafe"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// What go-ceph lacks, or does in more steps.

//export pvcProgress
func pvcProgress(done, total C.uint64_t, handle unsafe.Pointer) C.int {
	cgo.Handle(uintptr(handle)).Value().(func(done, total uint64))(uint64(done), uint64(total))
	return 0
}

// removeImage is rbd_remove_with_progress.
func removeImage(pool *gorados.IOContext, name string, progress func(done, total uint64)) error {
	return withProgress(name, progress, func(name *C.char, handle C.uintptr_t) C.int {
		return C.pvc_remove(C.rados_ioctx_t(pool.Pointer()), name, handle)
	})
}

// removeTrashed is rbd_trash_remove_with_progress, which takes an id.
func removeTrashed(pool *gorados.IOContext, id string, progress func(done, total uint64)) error {
	return withProgress(id, progress, func(id *C.char, handle C.uintptr_t) C.int {
		return C.pvc_trash_remove(C.rados_ioctx_t(pool.Pointer()), id, handle)
	})
}

func withProgress(key string, progress func(done, total uint64), fn func(key *C.char, handle C.uintptr_t) C.int) error {
	if progress == nil {
		progress = func(uint64, uint64) {}
	}
	handle := cgo.NewHandle(progress)
	defer handle.Delete()
	text := C.CString(key)
	defer C.free(unsafe.Pointer(text))
	return failure(fn(text, C.uintptr_t(handle)))
}

// beingRemoved asks with rbd_trash_get whether an image lies in the trash because librbd has
// begun to remove it. The trash that librbd lists does not have it.
func beingRemoved(pool *gorados.IOContext, id string) (bool, error) {
	text := C.CString(id)
	defer C.free(unsafe.Pointer(text))
	var info C.rbd_trash_image_info_t
	err := failure(C.rbd_trash_get(C.rados_ioctx_t(pool.Pointer()), text, &info))
	if err != nil {
		_, err = absentIsEmpty("", err)
		return false, err
	}
	defer C.rbd_trash_get_cleanup(&info)
	return info.source == C.RBD_TRASH_IMAGE_SOURCE_REMOVING, nil
}

// entry is an image as the directory of a pool has it. One of format 1 has no id.
type entry struct{ id, name string }

// listImages is rbd_list2.
func listImages(pool *gorados.IOContext) ([]entry, error) {
	for size := C.size_t(1024); ; {
		specs := (*C.rbd_image_spec_t)(C.calloc(size, C.sizeof_rbd_image_spec_t))
		room := size
		err := failure(C.rbd_list2(C.rados_ioctx_t(pool.Pointer()), specs, &size))
		var list []entry
		if err == nil {
			for _, s := range unsafe.Slice(specs, size) {
				list = append(list, entry{C.GoString(s.id), C.GoString(s.name)})
			}
			C.rbd_image_spec_list_cleanup(specs, size)
		}
		C.free(unsafe.Pointer(specs))
		if ceph.NumberOf(err) != syscall.ERANGE {
			return list, err
		}
		size = max(size, 2*room)
	}
}

// statPool is rados_ioctx_pool_stat with all its fields.
func statPool(pool *gorados.IOContext) (poolStat, error) {
	var s C.struct_rados_pool_stat_t
	if err := failure(C.rados_ioctx_pool_stat(C.rados_ioctx_t(pool.Pointer()), &s)); err != nil {
		return poolStat{}, err
	}
	return poolStat{
		Bytes: uint64(s.num_bytes), KB: uint64(s.num_kb), Objects: uint64(s.num_objects), Clones: uint64(s.num_object_clones),
		Copies: uint64(s.num_object_copies), Missing: uint64(s.num_objects_missing_on_primary), Unfound: uint64(s.num_objects_unfound),
		Degraded: uint64(s.num_objects_degraded), ReadOps: uint64(s.num_rd), ReadBytes: uint64(s.num_rd_kb) << 10,
		WriteOps: uint64(s.num_wr), WriteBytes: uint64(s.num_wr_kb) << 10,
		CompressedBytes: uint64(s.compressed_bytes_alloc), CompressedUnder: uint64(s.compressed_bytes_orig),
	}, nil
}

// classAnswer is more than any method that is called here answers with.
const classAnswer = 8 << 10

// callClass has the OSD that holds an object call a method of a class, which answers with
// bytes (rados_exec).
func callClass(pool *gorados.IOContext, object, class, method string, input []byte) ([]byte, error) {
	var texts [3]*C.char
	for i, s := range []string{object, class, method} {
		texts[i] = C.CString(s)
		defer C.free(unsafe.Pointer(texts[i]))
	}
	in := C.CBytes(input)
	defer C.free(in)
	out := C.malloc(classAnswer)
	defer C.free(out)
	n := C.rados_exec(C.rados_ioctx_t(pool.Pointer()), texts[0], texts[1], texts[2],
		(*C.char)(in), C.size_t(len(input)), (*C.char)(out), classAnswer)
	if n < 0 {
		return nil, failure(n)
	}
	return C.GoBytes(out, n), nil
}

func failure(code C.int) error {
	if code >= 0 {
		return nil
	}
	return ceph.Refused(syscall.Errno(-code), "")
}
