package guest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

const sectorSize = 512

// Sequence is what a guest with Seq wrote: the numbers First to Last of one
// boot, without a hole and each once.
type Sequence struct {
	Boot        string // boot id of the guest's kernel
	First, Last uint64
}

// Console reads a console log, or several of one guest in the order of its
// stations, joined. It fails if the guest booted twice or if a number is
// missing, doubled or out of order. A last line without its end is ignored, and
// so is whatever is no line of the sequence.
func Console(log []byte) (Sequence, error) {
	var s Sequence
	for number := 1; ; number++ {
		line, rest, complete := bytes.Cut(log, []byte("\n"))
		if !complete {
			break
		}
		log = rest
		boot, n, ok := parseRecord(string(bytes.TrimRight(line, "\r")))
		if !ok {
			continue
		}
		if err := s.next(boot, n); err != nil {
			return s, fmt.Errorf("console line %d: %w", number, err)
		}
	}
	if s.Last == 0 {
		return s, fmt.Errorf("the console holds no line of a sequence")
	}
	return s, nil
}

// Disk reads the records of a disk image. It fails if they are not one unbroken
// run of one boot, the last ones written, each in its place.
func Disk(path string) (Sequence, error) {
	image, err := os.ReadFile(path)
	if err != nil {
		return Sequence{}, fmt.Errorf("read records: %w", err)
	}
	s, err := records(image)
	if err != nil {
		return s, fmt.Errorf("records of %s: %w", path, err)
	}
	return s, nil
}

func records(image []byte) (Sequence, error) {
	sectors := uint64(len(image) / sectorSize)
	found := map[uint64]string{}
	var s Sequence
	for at := range sectors {
		text := bytes.TrimRight(image[at*sectorSize:(at+1)*sectorSize], "\x00")
		if len(text) == 0 {
			continue
		}
		boot, n, ok := parseRecord(strings.TrimSuffix(string(text), "\n"))
		if !ok {
			return s, fmt.Errorf("sector %d holds no record: %.80q", at, text)
		}
		if n%sectors != at {
			return s, fmt.Errorf("record %d is in sector %d, its place is %d", n, at, n%sectors)
		}
		found[n] = boot
		s.Last = max(s.Last, n)
	}
	if s.Last == 0 {
		return s, fmt.Errorf("no record at all")
	}
	last := s.Last
	s = Sequence{}
	for n := first(last, sectors); n <= last; n++ {
		boot, ok := found[n]
		if !ok {
			return s, fmt.Errorf("record %d of %d is missing", n, last)
		}
		if err := s.next(boot, n); err != nil {
			return s, err
		}
	}
	return s, nil
}

// first is the oldest of the records 1 to last that a disk still holds.
func first(last, sectors uint64) uint64 {
	if last <= sectors {
		return 1
	}
	return last - sectors + 1
}

// next accepts one more number or says why it cannot follow.
func (s *Sequence) next(boot string, n uint64) error {
	switch {
	case s.Last == 0:
		s.Boot, s.First, s.Last = boot, n, n
		return nil
	case boot != s.Boot:
		return fmt.Errorf("number %d belongs to boot %s, those before to boot %s", n, boot, s.Boot)
	case n != s.Last+1:
		return fmt.Errorf("number %d follows %d", n, s.Last)
	}
	s.Last = n
	return nil
}

// parseRecord reads "SEQ <boot id> <n>".
func parseRecord(line string) (boot string, n uint64, ok bool) {
	f := strings.Fields(line)
	if len(f) != 3 || f[0] != "SEQ" || len(f[1]) != 36 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(f[2], 10, 64)
	return f[1], n, err == nil && n > 0
}
