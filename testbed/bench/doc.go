// Package bench holds the benchmarks of the whole: real programs against a real
// ZooKeeper that syncs its log to disk, each figure beside a baseline that was measured
// in the same run. "make bench" runs them; docs/performance.md keeps results.
//
// What is to be compared is measured in turns within one benchmark, so that a machine
// that gets slower in the meantime slows down both.
package bench
