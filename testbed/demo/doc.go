// Package demo shows the main job of PVC on a testbed cluster: every step is a
// curl command that is printed, executed exactly as printed, and followed by its
// answer. What the reader sees can be pasted into another shell.
package demo
