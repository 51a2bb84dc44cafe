// Command seq runs inside the Linux guest. It writes the identity of the boot
// and a number that counts up to the console, and before that, synchronously, to
// the disk if there is one: record n fills sector n modulo the disk's size.
//
//	seq <milliseconds between two steps>
//
// The package that reads the records (testbed/guest) embeds and builds this file.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const sector = 512

func main() {
	fmt.Println("SEQ failed:", run(os.Args))
	os.Exit(1)
}

// run writes until the guest ends; it returns only if it cannot.
func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want one argument, have %d", len(args)-1)
	}
	step, err := strconv.Atoi(args[1])
	if err != nil || step <= 0 {
		return fmt.Errorf("step %q is not a number of milliseconds", args[1])
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	boot := strings.TrimSpace(string(b))
	d, err := openDisk("/dev/vda")
	if err != nil {
		return err
	}
	ticks := time.NewTicker(time.Duration(step) * time.Millisecond)
	for n := uint64(1); ; n++ {
		if d != nil {
			if err := d.write(n, fmt.Sprintf("SEQ %s %d\n", boot, n)); err != nil {
				return fmt.Errorf("record %d: %w", n, err)
			}
		}
		fmt.Printf("SEQ %s %d\n", boot, n)
		<-ticks.C
	}
}

// disk is written past the page cache, so that a record that was announced on
// the console is on the disk.
type disk struct {
	file    *os.File
	sectors uint64
	buffer  []byte // one sector, aligned as direct I/O demands
}

// openDisk returns nil without an error if there is no such disk.
func openDisk(name string) (*disk, error) {
	f, err := os.OpenFile(name, os.O_RDWR|syscall.O_DIRECT|syscall.O_SYNC, 0)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, 2)
	if err != nil {
		return nil, err
	}
	if size < sector {
		return nil, fmt.Errorf("%s has %d bytes", name, size)
	}
	const alignment = 4096
	raw := make([]byte, sector+alignment)
	skip := alignment - int(uintptr(unsafe.Pointer(&raw[0]))%alignment)
	return &disk{file: f, sectors: uint64(size / sector), buffer: raw[skip : skip+sector]}, nil
}

func (d *disk) write(n uint64, record string) error {
	copy(d.buffer, bytes.Repeat([]byte{0}, sector))
	copy(d.buffer, record)
	_, err := d.file.WriteAt(d.buffer, int64(n%d.sectors)*sector)
	return err
}
