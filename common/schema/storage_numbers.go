package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// number is a JSON number as its text. It is read from strings too, as some releases of
// Ceph write them and the old system passed them on, and from booleans; null is "".
type number string

// UnmarshalJSON keeps the text; what it means is looked at when it is used.
func (n *number) UnmarshalJSON(data []byte) error {
	switch s := string(data); {
	case s == "null":
		*n = ""
	case s == "true":
		*n = "1"
	case s == "false":
		*n = "0"
	case s[0] == '"':
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
		*n = number(strings.TrimSpace(text))
	case s[0] == '{' || s[0] == '[':
		return fmt.Errorf("%s is not a number", model.Clip(s))
	default:
		*n = number(s)
	}
	return nil
}

// MarshalJSON writes the number; the empty one is 0.
func (n number) MarshalJSON() ([]byte, error) {
	if n == "" {
		return []byte("0"), nil
	}
	return []byte(n), nil
}

// quoted is a number that is written as a string, in words of the old system.
type quoted string

// UnmarshalJSON is that of number.
func (q *quoted) UnmarshalJSON(data []byte) error {
	return (*number)(q).UnmarshalJSON(data)
}

func ofInt[N ~int | ~int64 | ~uint64](n N) number {
	return number(fmt.Sprintf("%d", n))
}

func ofFloat(f float64) number {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "0" // JSON has no word for them
	}
	return number(strconv.FormatFloat(f, 'f', -1, 64))
}

func ofFlag(on bool) number {
	if on {
		return "1"
	}
	return "0"
}

// statsDecoder reads the members of one statistics object and collects what it cannot
// read, which then counts as not set.
type statsDecoder struct {
	path string
	errs []error
}

// object decodes JSON into a struct of numbers; false if it says nothing. A member of
// the wrong type does not keep the others from being read.
func (d *statsDecoder) object(data string, into any) bool {
	data = strings.TrimSpace(Text(data))
	if data == "" {
		return false
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(data), &members); err != nil {
		d.errs = append(d.errs, fmt.Errorf("%s: %w", d.path, err))
		return false
	}
	if len(members) == 0 {
		return false
	}
	if err := json.Unmarshal([]byte(data), into); err != nil {
		d.errs = append(d.errs, fmt.Errorf("%s: %w", d.path, err))
	}
	return true
}

func (d *statsDecoder) fail(name, text, want string) {
	d.errs = append(d.errs, fmt.Errorf("%s: %s %q is not %s", d.path, name, model.Clip(text), want))
}

func (d *statsDecoder) err() error { return errors.Join(d.errs...) }

// whole reads an integer that is not negative.
func (d *statsDecoder) whole(name string, n number) int64 {
	if n == "" {
		return 0
	}
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil && i >= 0 {
		return i
	}
	// Written as a fraction or with an exponent by somebody's JSON.
	if f, err := strconv.ParseFloat(string(n), 64); err == nil && f >= 0 && f < math.MaxInt64 {
		return int64(f)
	}
	d.fail(name, string(n), "a number")
	return 0
}

func (d *statsDecoder) small(name string, n number) int {
	i := d.whole(name, n)
	if i > math.MaxInt32 {
		d.fail(name, string(n), "a number of that kind")
		return 0
	}
	return int(i)
}

func (d *statsDecoder) bytes(name string, n number) model.Size {
	if i, err := strconv.ParseUint(string(n), 10, 64); err == nil {
		return model.Size(i)
	}
	return model.Size(d.whole(name, n))
}

// measure reads a number with an optional letter for powers of unit: "3.1G", "12k", "0".
func (d *statsDecoder) measure(name string, q quoted, unit float64) float64 {
	text := strings.TrimSuffix(string(q), "B")
	if text == "" {
		return 0
	}
	factor := 1.0
	if i := strings.IndexByte("KMGTPE", text[len(text)-1]&^0x20); i >= 0 {
		factor, text = math.Pow(unit, float64(i+1)), text[:len(text)-1]
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(f >= 0 && f*factor < math.MaxInt64) {
		d.fail(name, string(q), "a number with a unit")
		return 0
	}
	return f * factor
}

// fraction reads a number that is not negative.
func (d *statsDecoder) fraction(name string, n number) float64 {
	if n == "" {
		return 0
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil || !(f >= 0 && f <= math.MaxFloat64) {
		d.fail(name, string(n), "a number")
		return 0
	}
	return f
}
