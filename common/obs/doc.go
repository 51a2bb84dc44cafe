// Package obs makes a daemon observable through its log: slog, text, keys that stay.
//
// The keys are vm, node, network, osd, command, service, request, err; an object is
// named by its name, an error is logged once, where it is dealt with.
package obs
