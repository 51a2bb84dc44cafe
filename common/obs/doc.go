// Package obs makes a daemon observable: its log (slog, text, keys that stay) and its
// metrics (a registry of its own, never the global one).
//
// The keys of the log are vm, node, network, osd, command, service, request, err; an
// object is named by its name, an error is logged once, where it is dealt with.
package obs
