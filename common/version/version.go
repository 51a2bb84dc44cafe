// Package version holds the version of the release, set when it is built.
package version

// Version is set with -ldflags "-X …/common/version.Version=…".
var Version = "development"
