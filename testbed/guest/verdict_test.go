package guest

import (
	"fmt"
	"strings"
	"testing"
)

const (
	bootA = "0b5ad3de-3a4f-4f7e-9a53-1d3a0c1f6a01"
	bootB = "7c1f2f66-8a3e-4c19-8d0e-2b6d9f4e5b02"
)

// lines are console lines of boot from first to last.
func lines(boot string, first, last int) string {
	var b strings.Builder
	for n := first; n <= last; n++ {
		fmt.Fprintf(&b, "SEQ %s %d\r\n", boot, n)
	}
	return b.String()
}

func TestConsoleAcceptsOneUnbrokenBootOnly(t *testing.T) {
	for name, c := range map[string]struct {
		log   string
		last  uint64
		fault string
	}{
		"unbroken":                  {"BOOT x\r\n" + lines(bootA, 1, 9), 9, ""},
		"begins late":               {lines(bootA, 5, 9), 9, ""},
		"other lines":               {lines(bootA, 1, 4) + "random: crng init done\n" + lines(bootA, 5, 6), 6, ""},
		"last line cut off":         {lines(bootA, 1, 4) + "SEQ " + bootA + " 7", 4, ""},
		"hole":                      {lines(bootA, 1, 4) + lines(bootA, 6, 9), 4, "number 6 follows 4"},
		"doubled":                   {lines(bootA, 1, 4) + lines(bootA, 4, 9), 4, "number 4 follows 4"},
		"second boot":               {lines(bootA, 1, 4) + lines(bootB, 1, 9), 4, "boot " + bootB},
		"continued by another boot": {lines(bootA, 1, 4) + lines(bootB, 5, 9), 4, "boot " + bootB},
		"nothing":                   {"hello\n", 0, "no line of a sequence"},
	} {
		t.Run(name, func(t *testing.T) {
			judged(t, func() (Sequence, error) { return Console([]byte(c.log)) }, c.last, c.fault)
		})
	}
}

// judged compares a verdict with the last number and the fault it should name.
func judged(t *testing.T, verdict func() (Sequence, error), last uint64, fault string) {
	t.Helper()
	s, err := verdict()
	if fault == "" && err != nil {
		t.Errorf("refused: %v", err)
	}
	if fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
		t.Errorf("err = %v, want one with %q", err, fault)
	}
	if s.Last != last {
		t.Errorf("last = %d, want %d", s.Last, last)
	}
}

// image is a disk of so many sectors with the records given by number and boot.
func image(sectors uint64, records map[uint64]string) []byte {
	b := make([]byte, sectors*sectorSize)
	for n, boot := range records {
		copy(b[n%sectors*sectorSize:], fmt.Sprintf("SEQ %s %d\n", boot, n))
	}
	return b
}

func written(boot string, first, last uint64) map[uint64]string {
	m := map[uint64]string{}
	for n := first; n <= last; n++ {
		m[n] = boot
	}
	return m
}

func TestDiskAcceptsTheLastRecordsOfOneBootOnly(t *testing.T) {
	const sectors = 8
	without := func(n uint64) map[uint64]string { m := written(bootA, 1, 6); delete(m, n); return m }
	mixed := written(bootA, 9, 16)
	mixed[12] = bootB
	old := written(bootA, 9, 16)
	delete(old, 13)
	old[5] = bootA // its sector was not written in the last round
	misplaced := image(sectors, written(bootA, 1, 4))
	copy(misplaced[6*sectorSize:], "SEQ "+bootA+" 5\n")
	garbage := image(sectors, written(bootA, 1, 4))
	copy(garbage[7*sectorSize:], "hello")
	for name, c := range map[string]struct {
		image []byte
		last  uint64
		fault string
	}{
		"first round":      {image(sectors, written(bootA, 1, 6)), 6, ""},
		"later round":      {image(sectors, written(bootA, 14, 21)), 21, ""},
		"first missing":    {image(sectors, without(1)), 0, "record 1 of 6 is missing"},
		"one missing":      {image(sectors, without(4)), 3, "record 4 of 6 is missing"},
		"one of old round": {image(sectors, old), 12, "record 13 of 16 is missing"},
		"two boots":        {image(sectors, mixed), 11, "boot " + bootB},
		"misplaced":        {misplaced, 4, "record 5 is in sector 6"},
		"garbage":          {garbage, 4, "sector 7 holds no record"},
		"empty":            {make([]byte, sectors*sectorSize), 0, "no record at all"},
	} {
		t.Run(name, func(t *testing.T) { judged(t, func() (Sequence, error) { return records(c.image) }, c.last, c.fault) })
	}
}

func FuzzConsoleNeverAcceptsABrokenSequence(f *testing.F) {
	f.Add(lines(bootA, 1, 3) + lines(bootA, 5, 6))
	f.Add("SEQ " + bootA + " 18446744073709551615\nSEQ " + bootA + " 0\n")
	f.Fuzz(func(t *testing.T, log string) {
		s, err := Console([]byte(log))
		if err != nil {
			return
		}
		n := uint64(0)
		for line := range strings.Lines(log) {
			if _, _, ok := parseRecord(strings.TrimRight(line, "\r\n")); ok && strings.HasSuffix(line, "\n") {
				n++
			}
		}
		if n != s.Last-s.First+1 {
			t.Errorf("%d lines make %+v", n, s)
		}
	})
}

func FuzzRecordsNeverPanics(f *testing.F) {
	f.Add(image(4, written(bootA, 3, 6)))
	f.Fuzz(func(t *testing.T, image []byte) {
		if s, err := records(image); err == nil && (s.Boot == "" || s.First > s.Last) {
			t.Errorf("accepted as %+v", s)
		}
	})
}
