package model

import (
	"math"
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Size is an amount of storage in bytes.
type Size uint64

// sizeUnits are the letters of the powers of 1024, in order.
const sizeUnits = "BKMGTP"

// MaxSize is the largest size that can be asked for: what a signed number of bytes holds.
const MaxSize Size = math.MaxInt64

// ParseSize reads a number of bytes, or a number with one of the letters B K M G T P in
// either case, which are powers of 1024. Zero, signs, fractions and more than [MaxSize]
// are errs.Invalid.
func ParseSize(s string) (Size, error) {
	digits, factor := s, uint64(1)
	if n := len(s); n > 0 {
		if power := unitPower(s[n-1]); power >= 0 {
			digits, factor = s[:n-1], 1<<(10*power)
		}
	}
	for _, c := range []byte(digits) { // ParseUint takes underscores in no base that is given, but a plus sign
		if c < '0' || c > '9' {
			return 0, badSize(s, "a number of bytes, or a number and one of B K M G T P, is needed")
		}
	}
	if digits == "" {
		return 0, badSize(s, "a number is needed")
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > uint64(MaxSize)/factor {
		return 0, badSize(s, "it is larger than "+MaxSize.String())
	}
	if n == 0 {
		return 0, badSize(s, "it must be larger than 0")
	}
	return Size(n * factor), nil
}

func badSize(s, why string) error { return errs.Invalidf("size %q: %s", Clip(s), why) }

// unitPower is the power of 1024 of a unit's letter, -1 for any other character.
func unitPower(c byte) int {
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	for i := range len(sizeUnits) {
		if sizeUnits[i] == c {
			return i
		}
	}
	return -1
}

// String is the size in the smallest unit in which it is at most 9999, rounded up: "0B",
// "10K", "1024M", "21G". Beyond that it stays in P.
func (s Size) String() string {
	const most = 9999
	for i := range len(sizeUnits) {
		unit := Size(1) << (10 * i)
		n := s / unit
		if s%unit != 0 {
			n++
		}
		if n <= most || i == len(sizeUnits)-1 {
			return strconv.FormatUint(uint64(n), 10) + sizeUnits[i:i+1]
		}
	}
	return "" // not reached: the last unit takes all
}
