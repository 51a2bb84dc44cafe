package dns

// nextSerial returns a serial after last in the sense of RFC 1982: the time now in
// seconds, or one more than last if the time is not after it. A last of 0 is none, and
// 0 is never returned.
func nextSerial(last, now uint32) uint32 {
	if last == 0 || int32(now-last) > 0 {
		return max(1, now)
	}
	return max(1, last+1)
}
