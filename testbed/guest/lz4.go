package guest

import (
	"encoding/binary"
	"errors"
)

// lz4Magic begins an LZ4 "legacy frame", the form in which Debian's amd64 kernel
// holds its packed self (lz4_Frame_format.md, section Legacy frame).
var lz4Magic = []byte{0x02, 0x21, 0x4c, 0x18}

// lz4Block is what a block of a legacy frame unpacks to at most.
const lz4Block = 8 << 20

var errLZ4 = errors.New("broken LZ4 data")

// unpackLZ4 unpacks a legacy frame. The frame has no end mark: the first block
// that cannot be one, or that is shorter than a full one, ends it.
func unpackLZ4(b []byte) ([]byte, error) {
	if len(b) < len(lz4Magic) {
		return nil, errLZ4
	}
	b = b[len(lz4Magic):]
	var out []byte
	for len(b) >= 4 {
		size := int(binary.LittleEndian.Uint32(b))
		b = b[4:]
		if size == 0 || size > len(b) {
			break
		}
		start := len(out)
		var err error
		if out, err = unpackBlock(out, b[:size]); err != nil {
			return nil, err
		}
		if len(out)-start < lz4Block {
			break
		}
		b = b[size:]
	}
	if len(out) == 0 {
		return nil, errLZ4
	}
	return out, nil
}

// unpackBlock appends what one block holds: sequences of literals and a match
// (a distance back into this block's output, and a length).
func unpackBlock(out, b []byte) ([]byte, error) {
	start := len(out)
	for len(b) > 0 {
		token := b[0]
		b = b[1:]
		literals, rest, ok := lz4Length(int(token>>4), b)
		if !ok || literals > len(rest) || len(out)-start+literals > lz4Block {
			return nil, errLZ4
		}
		out, b = append(out, rest[:literals]...), rest[literals:]
		if len(b) == 0 {
			return out, nil // the last sequence has no match
		}
		if len(b) < 2 {
			return nil, errLZ4
		}
		distance := int(binary.LittleEndian.Uint16(b))
		length, rest, ok := lz4Length(int(token&15), b[2:])
		length += 4
		if !ok || distance == 0 || distance > len(out)-start || len(out)-start+length > lz4Block {
			return nil, errLZ4
		}
		b = rest
		for from := len(out) - distance; length > 0; length-- { // may overlap itself
			out = append(out, out[from])
			from++
		}
	}
	return out, nil
}

// lz4Length completes a length of 15 with the bytes that follow.
func lz4Length(n int, b []byte) (length int, rest []byte, ok bool) {
	if n < 15 {
		return n, b, true
	}
	for i, c := range b {
		n += int(c)
		if c != 255 {
			return n, b[i+1:], true
		}
	}
	return 0, nil, false
}
